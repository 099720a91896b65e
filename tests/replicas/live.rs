//! Streams of changes: whichever replica makes a change, and whichever a client is connected to, it is told once and in order.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::RngExt;
use reqwest::{Client, Response};

use crate::fleet::Fleet;
use crate::luck;
use crate::service::SERVICE_TOKEN;
use crate::vendor::Vendor;

/// Longest that a change may take to be told.
const TOLD_WITHIN: Duration = Duration::from_secs(30);

/// What a browser's `EventSource` is to the service: it remembers the last id, and says it when it connects again.
pub(crate) struct Stream {
    http: Client,
    answer: Option<Response>,
    unread: String,
    pub(crate) last_id: i64,
    /// The ids of events, in the order of their arrival.
    ids: Vec<i64>,
    /// The last of each call.
    pub(crate) calls: BTreeMap<String, i64>,
}

impl Stream {
    pub(crate) fn new(fleet: &Fleet) -> Self {
        Self {
            http: fleet.client(),
            answer: None,
            unread: String::new(),
            last_id: 0,
            ids: Vec::new(),
            calls: BTreeMap::new(),
        }
    }

    pub(crate) async fn connect(&mut self, origin: &str) {
        let request = self
            .http
            .get(format!("{origin}/athos/live"))
            .header("last-event-id", self.last_id.to_string())
            .bearer_auth(SERVICE_TOKEN);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        self.answer = Some(answer);
        // What had not arrived whole is told again.
        self.unread.clear();
    }

    /// Reads on until this is true.
    pub(crate) async fn until(&mut self, mut is_enough: impl FnMut(&Self) -> bool) {
        let reading = async {
            while !is_enough(self) {
                let answer = self.answer.as_mut().unwrap();
                let bytes = answer.chunk().await.unwrap().expect("the stream ended");
                self.unread.push_str(std::str::from_utf8(&bytes).unwrap());
                while let Some((event, rest)) = self.unread.split_once("\n\n") {
                    let (event, rest) = (event.to_owned(), rest.to_owned());
                    self.unread = rest;
                    self.take(&event);
                }
            }
        };
        let read = tokio::time::timeout(TOLD_WITHIN, reading).await;
        assert!(read.is_ok(), "after {:?} nothing came", self.ids.last());
    }

    fn take(&mut self, event: &str) {
        let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
        let Some(id) = field("id: ") else { return };
        assert_eq!(field("event: "), Some("call"), "{event}");
        self.last_id = id.parse().unwrap();
        self.ids.push(self.last_id);
        let call: serde_json::Value = serde_json::from_str(field("data: ").unwrap()).unwrap();
        let call = call["id"].as_str().unwrap().to_owned();
        self.calls.insert(call, self.last_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_tells_every_change_of_any_replica_once_and_in_order_also_over_reconnects_to_others()
 {
    const CALLS_AT_ONCE: usize = 40;
    const RECONNECTS: usize = 6;
    let mut luck = luck();
    let vendor = Vendor::start(luck.random()).await;
    let Some(fleet) = Fleet::start(2, &vendor, |binary| binary).await else {
        return;
    };
    let (mut steady, mut moving) = (Stream::new(&fleet), Stream::new(&fleet));
    steady.connect(&fleet.replicas[0].origin).await;
    for turn in 0..RECONNECTS {
        moving.connect(&fleet.replicas[turn % 2].origin).await;
        vendor.burst(CALLS_AT_ONCE).await;
        // It breaks off in the middle of what this burst changes.
        let enough = moving.ids.len() + luck.random_range(1..CALLS_AT_ONCE);
        moving.until(|stream| stream.ids.len() >= enough).await;
    }
    vendor.settled().await;
    fleet.shared.drained(&vendor).await;
    let stored = fleet.shared.sql("SELECT id, rev FROM calls");
    let stored = stored.lines().map(|line| {
        let (id, rev) = line.split_once('|').unwrap();
        (id.to_owned(), rev.parse::<i64>().unwrap())
    });
    let stored: BTreeMap<_, _> = stored.collect();
    assert_eq!(stored.len(), RECONNECTS * CALLS_AT_ONCE);
    moving.connect(&fleet.replicas[RECONNECTS % 2].origin).await;
    for mut stream in [steady, moving] {
        let last = *stored.values().max().unwrap();
        stream.until(|stream| stream.last_id >= last).await;
        let ids = &stream.ids;
        assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "{ids:?}");
        assert!(stream.calls == stored, "a change was not told");
    }
}
