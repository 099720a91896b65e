//! Records what a store says to PostgreSQL, as SQL that can be said again: a relay between both that reads their messages.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Most times that a statement is executed in a record: what it does once more is nothing new.
const EXECUTED_MAX: usize = 300;

#[derive(Default)]
struct Record {
    /// What is said now belongs to it.
    is_on: AtomicBool,
    written: Mutex<Written>,
}

#[derive(Default)]
struct Written {
    /// The number of each statement that was prepared.
    numbers: HashMap<String, usize>,
    /// How often each was executed, by its name.
    executed: HashMap<String, usize>,
    /// How transactions begin, once in full: the settings are theirs alone.
    begun: HashSet<String>,
    prepared: Vec<String>,
    said: Vec<String>,
}

impl Written {
    /// Adds the lines of a transaction, without what would only make the record longer.
    fn append(&mut self, lines: &mut Vec<String>) {
        for line in lines.drain(..) {
            let mut words = line.split([' ', ';']);
            match (words.next(), words.next()) {
                (Some("EXECUTE"), Some(name)) => {
                    let times = self.executed.entry(name.to_owned()).or_default();
                    *times += 1;
                    if *times <= EXECUTED_MAX {
                        self.said.push(line);
                    }
                }
                (Some("BEGIN"), _) if !self.begun.insert(line.clone()) => {
                    self.said.push("BEGIN;".to_owned());
                }
                _ => self.said.push(line),
            }
        }
    }
}

pub(crate) struct Recorder {
    url: String,
    record: Arc<Record>,
}

impl Recorder {
    /// One before the database at this URL.
    pub(crate) async fn start(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ours = listener.local_addr().unwrap().to_string();
        let (user, place) = url.split_once('@').unwrap();
        let (server, database) = place.split_once('/').unwrap();
        let record = Arc::<Record>::default();
        let (server, written) = (server.to_owned(), Arc::clone(&record));
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = TcpStream::connect(&server).await.unwrap();
                relay(client, server, Arc::clone(&written));
            }
        });
        Self {
            url: format!("{user}@{ours}/{database}?sslmode=disable"),
            record,
        }
    }

    /// The database through it.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What is said from now on is recorded. Before, only the statements that are prepared are.
    pub(crate) fn begin(&self) {
        self.record.is_on.store(true, Ordering::Relaxed);
    }

    /// The statements that were prepared, and what was executed, transaction by transaction in the order of their ends; a line
    /// each.
    pub(crate) fn lines(&self) -> Vec<String> {
        let written = self.record.written.lock().unwrap();
        [&written.prepared[..], &written.said].concat()
    }
}

fn relay(client: TcpStream, server: TcpStream, record: Arc<Record>) {
    client.set_nodelay(true).unwrap();
    server.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let talk = Arc::new(Mutex::new(Talk {
        record,
        prepared: HashMap::new(),
        parsed: Vec::new(),
        bound: None,
        executed: None,
        asked: VecDeque::new(),
        open: Vec::new(),
    }));
    let listening = Arc::clone(&talk);
    tokio::spawn(pass(from_client, to_server, true, move |kind, body| {
        talk.lock().unwrap().ask(kind, body);
    }));
    tokio::spawn(pass(from_server, to_client, false, move |kind, body| {
        listening.lock().unwrap().answer(kind, body);
    }));
}

/// Passes messages on, once they were read up to one that is answered. The first of a client has no kind.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    is_client: bool,
    mut read: impl FnMut(u8, &[u8]),
) {
    let (mut held, mut is_first) = (Vec::new(), is_client);
    loop {
        let mut message = vec![0; if is_first { 4 } else { 5 }];
        if from.read_exact(&mut message).await.is_err() {
            return;
        }
        let head = message.len();
        let length = u32::from_be_bytes(message[head - 4..].try_into().unwrap());
        message.resize(head - 4 + length as usize, 0);
        if from.read_exact(&mut message[head..]).await.is_err() {
            return;
        }
        let mut is_held = false;
        if !std::mem::replace(&mut is_first, false) {
            read(message[0], &message[head..]);
            is_held = is_client && b"PBDE".contains(&message[0]);
        }
        held.append(&mut message);
        if !is_held && to.write_all(&std::mem::take(&mut held)).await.is_err() {
            return;
        }
    }
}

/// What is asked of the server with one message that it answers.
#[derive(Default)]
struct Asked {
    /// Statements that are prepared with it.
    parsed: Vec<Prepared>,
    /// What it executes.
    sql: Option<String>,
    has_failed: bool,
}

#[derive(Clone)]
struct Prepared {
    sql: String,
    types: Vec<u32>,
}

/// One connection.
struct Talk {
    record: Arc<Record>,
    /// By their names on this connection.
    prepared: HashMap<String, Prepared>,
    parsed: Vec<Prepared>,
    /// The statement that is executed next, with its values.
    bound: Option<(Prepared, String)>,
    executed: Option<String>,
    asked: VecDeque<Asked>,
    /// The lines of the transaction that is open.
    open: Vec<String>,
}

impl Talk {
    fn ask(&mut self, kind: u8, body: &[u8]) {
        let mut body = Body(body);
        match kind {
            b'P' => {
                let (name, sql) = (body.text(), one_line(&body.text()));
                let types = (0..body.number()).map(|_| body.long()).collect();
                let prepared = Prepared { sql, types };
                self.parsed.push(prepared.clone());
                self.prepared.insert(name, prepared);
            }
            b'B' => {
                let (_, name) = (body.text(), body.text());
                (0..body.number()).for_each(|_| _ = body.number());
                let prepared = self.prepared[&name].clone();
                let count = body.number();
                let values = (0..count).zip(&prepared.types);
                let values: Vec<_> = values.map(|(_, of)| body.value(*of)).collect();
                self.bound = Some((prepared, values.join(", ")));
            }
            b'E' => {
                let (prepared, values) = self.bound.take().unwrap();
                let name = self.record.name(&prepared);
                self.executed = Some(match &*values {
                    "" => format!("EXECUTE {name};"),
                    values => format!("EXECUTE {name} ({values});"),
                });
            }
            b'Q' => self.asked.push_back(Asked {
                sql: Some(one_line(&body.text())),
                ..Asked::default()
            }),
            b'S' => self.asked.push_back(Asked {
                parsed: std::mem::take(&mut self.parsed),
                sql: self.executed.take(),
                ..Asked::default()
            }),
            _ => {}
        }
    }

    fn answer(&mut self, kind: u8, body: &[u8]) {
        let Some(asked) = self.asked.front_mut() else {
            return;
        };
        match kind {
            b'E' => asked.has_failed = true,
            b'Z' => {
                let asked = self.asked.pop_front().unwrap();
                if !asked.has_failed {
                    asked
                        .parsed
                        .iter()
                        .for_each(|parsed| _ = self.record.name(parsed));
                    if let Some(sql) = asked
                        .sql
                        .filter(|_| self.record.is_on.load(Ordering::Relaxed))
                    {
                        self.open.push(sql);
                    }
                }
                if body == b"I" {
                    self.record.written.lock().unwrap().append(&mut self.open);
                }
            }
            _ => {}
        }
    }
}

impl Record {
    /// The name of a statement in the record, which prepares it first.
    fn name(&self, prepared: &Prepared) -> String {
        let types: Vec<_> = prepared.types.iter().map(|of| name_of(*of)).collect();
        let types = match types.is_empty() {
            true => String::new(),
            false => format!(" ({})", types.join(", ")),
        };
        let text = format!("{types} AS {}", prepared.sql);
        let written = &mut *self.written.lock().unwrap();
        let next = written.numbers.len() + 1;
        let number = *written.numbers.entry(text).or_insert_with_key(|text| {
            written.prepared.push(format!("PREPARE s{next}{text};"));
            next
        });
        format!("s{number}")
    }
}

/// What is left of a message.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn take(&mut self, count: usize) -> &[u8] {
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        taken
    }

    fn text(&mut self) -> String {
        let end = self.0.iter().position(|byte| *byte == 0).unwrap();
        let text = str::from_utf8(self.take(end)).unwrap().to_owned();
        self.take(1);
        text
    }

    fn number(&mut self) -> u16 {
        u16::from_be_bytes(self.take(2).try_into().unwrap())
    }

    fn long(&mut self) -> u32 {
        u32::from_be_bytes(self.take(4).try_into().unwrap())
    }

    /// A value as SQL writes it.
    fn value(&mut self, of: u32) -> String {
        let length = self.long();
        if length == u32::MAX {
            return "NULL".to_owned();
        }
        let bytes = self.take(length as usize);
        match name_of(of) {
            "bigint" => i64::from_be_bytes(bytes.try_into().unwrap()).to_string(),
            "float8" => format!("{:?}", f64::from_be_bytes(bytes.try_into().unwrap())),
            "bytea" => format!(r"'\x{}'", base16ct::lower::encode_string(bytes)),
            _ => {
                let text = str::from_utf8(bytes).unwrap();
                let text = text
                    .replace('\\', r"\\")
                    .replace('\'', "''")
                    .replace('\n', r"\n");
                format!("E'{text}'")
            }
        }
    }
}

/// The name of a type of which the store's values are.
fn name_of(of: u32) -> &'static str {
    match of {
        17 => "bytea",
        20 => "bigint",
        25 => "text",
        701 => "float8",
        of => panic!("a value of the type {of}"),
    }
}

fn one_line(sql: &str) -> String {
    sql.split_whitespace().collect::<Vec<_>>().join(" ")
}
