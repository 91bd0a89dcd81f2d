//! Which daemon is started, when, and what becomes of one that is not.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use crate::fake::{Fake, soon, status};
use baskd_client::{Builder, Client, Error};
use serde_json::json;
use tempfile::TempDir;
use tokio::join;
use tokio::net::{UnixListener, UnixSocket, UnixStream};

/// A program in place of `baskd`, which writes its arguments down and does as its test has it.
struct Program(TempDir);

impl Program {
    fn new(script: &str) -> Program {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let program = Program(folder);
        let at = program.0.path().display();
        let text = format!("#!/bin/sh\ncd {at}\necho \"$*\" >> arguments\n{script}\n");
        fs::write(program.path(), text).unwrap();
        fs::set_permissions(program.path(), fs::Permissions::from_mode(0o700)).unwrap();
        program
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("baskd")
    }

    /// Where nobody listens.
    fn socket(&self) -> PathBuf {
        self.0.path().join("s")
    }

    fn builder(&self) -> Builder {
        Client::builder().binary(self.path())
    }

    fn runs(&self) -> Vec<String> {
        let text = fs::read_to_string(self.0.path().join("arguments")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn what_is_said_is_the_error_at_once() {
    let program = Program::new(r#"echo '{"name":"StartFailed","message":"no Python there"}' >&2; exit 2"#);
    let error = program.builder().connect(program.socket()).await.unwrap_err();
    let Error::StartFailed { status, said, command } = &error else {
        panic!("{error:?}");
    };
    assert_eq!((*status, said.as_deref()), (Some(2), Some("no Python there")));
    assert!(command.contains(" start --socket "), "{command}");
    assert_eq!(error.to_string(), "no daemon could be started: no Python there");
}

#[tokio::test]
async fn where_there_is_nothing_to_start_nobody_answers() {
    let program = Program::new(r#"echo '{"name":"Usage","message":"nothing to start: name one"}' >&2; exit 2"#);
    let error = program.builder().connect(program.socket()).await.unwrap_err();
    assert!(matches!(error, Error::NoDaemon { .. }), "{error:?}");
    assert!(error.to_string().contains("baskd serve"), "{error}");
}

#[tokio::test]
async fn what_is_to_be_started_is_passed_on() {
    let program = Program::new("exit 3");
    let builder = program.builder().controller("a/c.py:Chat").python("venv").name("chat");
    let error = builder.connect(program.socket()).await.unwrap_err();
    assert!(
        matches!(
            error,
            Error::StartFailed {
                status: Some(3),
                said: None,
                ..
            }
        ),
        "{error:?}"
    );
    let here = std::env::current_dir().unwrap();
    let expected = format!(
        "start {}/a/c.py:Chat --name chat --socket {} --python venv --json",
        here.display(),
        program.socket().display()
    );
    assert_eq!(program.runs(), [expected]);
}

#[tokio::test]
async fn no_program() {
    let program = Program::new("");
    fs::remove_file(program.path()).unwrap();
    let error = program.builder().connect(program.socket()).await.unwrap_err();
    assert!(error.to_string().contains("can't be run"), "{error}");
}

#[tokio::test]
async fn opted_out() {
    let program = Program::new("exit 3");
    let error = program
        .builder()
        .start(false)
        .connect(program.socket())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::NoDaemon { .. }), "{error:?}");
    assert!(program.runs().is_empty());
}

#[tokio::test]
async fn a_daemon_that_answers_is_not_started() {
    let fake = Fake::new();
    let program = Program::new("exit 3");
    program.builder().connect(fake.path()).await.unwrap();
    assert!(program.runs().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_daemon_that_takes_no_connections_is_waited_for_and_not_started() {
    let program = Program::new("exit 3");
    let socket = UnixSocket::new_stream().unwrap();
    socket.bind(program.socket()).unwrap();
    let listener = socket.listen(1).unwrap();
    let mut waiting = Vec::new();
    while let Ok(one) = UnixStream::connect(program.socket()).await {
        waiting.push(one);
    }
    let error = program.builder().connect(program.socket()).await.unwrap_err();
    assert!(error.to_string().contains("takes no connections"), "{error}");

    let connect = tokio::spawn(program.builder().connect(program.socket()));
    for _ in 0..=waiting.len() {
        listener.accept().await.unwrap();
    }
    connect.await.unwrap().unwrap();
    assert!(program.runs().is_empty());
}

#[tokio::test]
async fn another_controller_is_refused() {
    let fake = Fake::new();
    let connect = |spec: &str| Client::builder().start(false).controller(spec).connect(fake.path());
    let (refused, ()) = join!(connect("my.module:Chat"), async {
        let mut peer = fake.accept().await;
        let request = peer.expect("daemon.status").await;
        peer.answer(&request, status("my.module:Other")).await;
    });
    let error = refused.unwrap_err();
    assert!(matches!(error, Error::WrongController { .. }), "{error:?}");
    assert!(
        error.to_string().contains("serves my.module:Other, not my.module:Chat"),
        "{error}"
    );
    let (client, _peer) = join!(connect("my.module:Chat"), async {
        let mut peer = fake.accept().await;
        let request = peer.expect("daemon.status").await;
        peer.answer(&request, status("my.module:Chat")).await;
        peer
    });
    client.unwrap();
}

#[tokio::test]
async fn a_lost_daemon_is_started_again_for_a_call_and_once_for_many() {
    let fake = Fake::new();
    let program = Program::new("while [ ! -e go ]; do sleep 0.01; done");
    let client = program.builder().connect(fake.path()).await.unwrap();
    let peer = fake.accept().await;
    let path = fake.path();
    let folder = fake.stop();
    drop(peer);
    client.closed().await;
    assert!(
        program.runs().is_empty(),
        "an idle connection that was lost starts nothing"
    );

    let daemon = async {
        // Not before the program runs, so that all three wait for it.
        soon(async {
            while program.runs().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        let listener = UnixListener::bind(&path).unwrap();
        fs::write(program.0.path().join("go"), "").unwrap();
        let fake = Fake::of(listener, folder);
        let mut peer = fake.accept_again().await;
        for _ in 0..3 {
            let request = peer.expect("f").await;
            peer.answer(&request, json!(1)).await;
        }
    };
    let call = || soon(client.call::<u32>("f", ()));
    let (one, two, three, ()) = join!(call(), call(), call(), daemon);
    assert_eq!((one.unwrap(), two.unwrap(), three.unwrap()), (1, 1, 1));
    assert_eq!(program.runs().len(), 1);
}

#[tokio::test]
async fn a_failing_start_is_told_to_all_who_wait_and_tried_anew_for_the_next() {
    let fake = Fake::new();
    let program = Program::new("while [ ! -e go ]; do sleep 0.01; done; echo 'no room' >&2; exit 3");
    let client = program.builder().connect(fake.path()).await.unwrap();
    drop(fake.accept().await);
    drop(fake.stop());
    client.closed().await;
    let (one, two, ()) = join!(client.call::<u32>("f", ()), client.call::<u32>("f", ()), async {
        soon(async {
            while program.runs().is_empty() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        fs::write(program.0.path().join("go"), "").unwrap();
    });
    for result in [one, two] {
        assert!(
            matches!(&result, Err(Error::StartFailed { said: Some(said), .. }) if said == "no room"),
            "{result:?}"
        );
    }
    assert_eq!(program.runs().len(), 1);
    assert!(client.call::<u32>("f", ()).await.is_err());
    assert_eq!(program.runs().len(), 2);
}
