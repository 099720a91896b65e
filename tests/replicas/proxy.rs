//! The load balancer: each connection goes to the next replica, and on to the one after it where it is refused. It knows no
//! HTTP, repeats nothing and checks nothing.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) origin: String,
    replicas: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Proxy {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            origin: format!("http://{}", listener.local_addr().unwrap()),
            replicas: Arc::default(),
        };
        let replicas = Arc::clone(&proxy.replicas);
        let turn = Arc::<AtomicUsize>::default();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(relay(client, Arc::clone(&replicas), turn));
            }
        });
        proxy
    }

    /// Where the replica of this number is from now on.
    pub(crate) fn lead_to(&self, number: usize, origin: &str) {
        let address = origin.strip_prefix("http://").unwrap().parse().unwrap();
        let mut replicas = self.replicas.lock().unwrap();
        if number == replicas.len() {
            replicas.push(address);
        } else {
            replicas[number] = address;
        }
    }
}

async fn relay(mut client: TcpStream, replicas: Arc<Mutex<Vec<SocketAddr>>>, turn: usize) {
    let mut replicas = replicas.lock().unwrap().clone();
    let first = turn % replicas.len();
    replicas.rotate_left(first);
    for replica in replicas {
        if let Ok(mut server) = TcpStream::connect(replica).await {
            // A connection that is cut on one side is cut on the other.
            let _ = copy_bidirectional(&mut client, &mut server).await;
            return;
        }
    }
}
