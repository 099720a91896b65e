//! The replicas of a story, with the proxy before them.

use std::time::Duration;

use athos_backend::clients::http_client;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Database;
use crate::proxy::Proxy;
use crate::service::{Binary, Service};
use crate::shared::Shared;
use crate::vendor::Vendor;

pub(crate) struct Fleet {
    // Ended before their database goes.
    pub(crate) replicas: Vec<Service>,
    pub(crate) proxy: Proxy,
    pub(crate) shared: Shared,
    binary: Binary,
}

impl Fleet {
    /// So many replicas on a database of their own; nothing when there is no server, which is said.
    pub(crate) async fn start(
        count: usize,
        vendor: &Vendor,
        set: impl FnOnce(Binary) -> Binary,
    ) -> Option<Self> {
        let database = Database::new()?;
        let binary = set(Binary::on(database.url(), vendor));
        Some(Self::of(count, vendor, database, binary).await)
    }

    /// So many replicas on this database, which the settings of the binary lead to.
    pub(crate) async fn of(
        count: usize,
        vendor: &Vendor,
        database: Database,
        binary: Binary,
    ) -> Self {
        let proxy = Proxy::start().await;
        let starting: Vec<_> = (0..count).map(|_| binary.spawn()).collect();
        let listening = starting.into_iter().map(|replica| replica.listening());
        let replicas: Vec<_> = listening
            .map(|replica| replica.unwrap_or_else(|ended| panic!("{}", ended.said)))
            .collect();
        for (number, replica) in replicas.iter().enumerate() {
            proxy.lead_to(number, &replica.origin);
        }
        vendor.deliver_to(&proxy.origin);
        Self {
            replicas,
            proxy,
            shared: Shared::new(database),
            binary,
        }
    }

    /// Who asks replicas, or the proxy. Streams end well before it gives up.
    pub(crate) fn client(&self) -> reqwest::Client {
        http_client(
            &self.proxy.origin.parse().unwrap(),
            Duration::from_secs(120),
        )
        .unwrap()
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, number: usize) {
        self.replicas[number].kill();
    }

    /// Starts a new process in the place of one that has ended.
    pub(crate) fn restart(&mut self, number: usize) {
        self.replicas[number] = self.binary.start();
        self.proxy.lead_to(number, &self.replicas[number].origin);
    }

    /// Starts one more.
    pub(crate) fn add(&mut self) {
        let replica = self.binary.start();
        self.proxy.lead_to(self.replicas.len(), &replica.origin);
        self.replicas.push(replica);
    }

    /// Ends a replica as a deployment does: SIGTERM, and its end is waited for.
    pub(crate) fn stop(&mut self, number: usize) {
        self.signal(number, Signal::TERM);
        let running = &mut self.replicas[number].running;
        let status = running.ended();
        assert!(status.success(), "{status}: {}", running.log());
    }

    pub(crate) fn signal(&self, number: usize, signal: Signal) {
        let id = self.replicas[number].running.id();
        let process = Pid::from_raw(id.try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }
}
