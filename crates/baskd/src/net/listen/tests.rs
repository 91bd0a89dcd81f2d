use super::*;
use baskd_protocol::presence::{holder, lock_of};
use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700)).unwrap();
    folder
}

#[test]
fn a_socket_is_its_owners_only_and_goes_with_its_daemon() {
    let folder = folder();
    let path = folder.path().join("new/a.sock");
    let (listener, _lock) = listen(&path, None, "me").unwrap();
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().mode() & 0o777, 0o700);
    assert_eq!(fs::symlink_metadata(&path).unwrap().mode() & 0o777, 0o600);
    UnixStream::connect(&path).unwrap();
    drop(listener);
    let left: Vec<_> = fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["a.sock.lock"]);
}

#[test]
fn a_living_owner_is_named_and_keeps_its_socket() {
    let folder = folder();
    let path = folder.path().join("a.sock");
    let (listener, _lock) = listen(&path, None, "pid 7, /x/controller.py").unwrap();
    let refusal = listen(&path, None, "other").err().unwrap().to_string();
    assert!(refusal.contains("pid 7, /x/controller.py"), "{refusal}");
    UnixStream::connect(&path).unwrap();
    listener.socket.set_nonblocking(false).unwrap();
    listener.socket.accept().unwrap();
    // While it stops, its path is gone and its state is still its own.
    drop(listener);
    assert!(matches!(listen(&path, None, "other"), Err(ListenError::Runs { .. })));
}

#[test]
fn one_that_stops_is_waited_for() {
    let folder = folder();
    let path = folder.path().join("a.sock");
    let (listener, mut lock) = listen(&path, None, "pid 7, x.py").unwrap();
    drop(listener);
    lock.stopping();
    let has_ended = Arc::new(AtomicBool::new(false));
    let next = {
        let has_ended = has_ended.clone();
        let path = path.clone();
        thread::spawn(move || {
            let next = listen(&path, None, "pid 8, x.py").unwrap();
            assert!(has_ended.load(Ordering::SeqCst));
            next
        })
    };
    has_ended.store(true, Ordering::SeqCst);
    drop(lock);
    let next = next.join().unwrap();
    UnixStream::connect(&path).unwrap();
    let refusal = listen(&path, None, "pid 9").err().unwrap().to_string();
    assert!(refusal.contains("(pid 8, x.py)"), "{refusal}");
    drop(next);
}

/// Many who connect at the very time at which the path is taken away: each is served, or refused by the kernel.
#[test]
fn nobody_is_lost_when_the_path_is_taken_away() {
    const TURNS: usize = 2000;
    let folder = folder();
    let path = folder.path().join("a.sock");
    let (mut listener, _lock) = listen(&path, None, "me").unwrap();
    let is_over = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (is_over, path) = (is_over.clone(), path.clone());
            thread::spawn(move || {
                let mut served = 0;
                while !is_over.load(Ordering::Relaxed) {
                    match UnixStream::connect(&path) {
                        Ok(mut stream) => {
                            let mut byte = [0];
                            stream.read_exact(&mut byte).expect("whoever has connected is served");
                            served += 1;
                        }
                        Err(error) => assert!(
                            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused),
                            "{error}"
                        ),
                    }
                }
                served
            })
        })
        .collect();
    let serve_all = |listener: &Listener| {
        let mut served = 0;
        while let Some(mut stream) = listener.next_of_last().unwrap() {
            stream.write_all(b"x").unwrap();
            served += 1;
        }
        served
    };
    let (mut served, mut came_last) = (0, 0);
    for _ in 0..TURNS {
        served += serve_all(&listener);
        listener.withdraw().unwrap();
        assert!(!path.exists());
        came_last += serve_all(&listener);
        listener.bind_anew().unwrap();
    }
    is_over.store(true, Ordering::Relaxed);
    listener.withdraw().unwrap();
    came_last += serve_all(&listener);
    drop(listener);
    let all: usize = clients.into_iter().map(|client| client.join().unwrap()).sum();
    assert_eq!(all, served + came_last);
}

#[test]
fn a_stale_socket_is_replaced() {
    let folder = folder();
    let path = folder.path().join("a.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _listener = listen(&path, None, "me").unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn what_is_not_ours_is_left_alone() {
    let folder = folder();
    let path = folder.path().join("a.sock");
    let foreign = UnixListener::bind(&path).unwrap();
    assert!(matches!(listen(&path, None, "me"), Err(ListenError::Foreign(_))));
    drop(foreign);
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    assert!(matches!(listen(&path, None, "me"), Err(ListenError::NotASocket(_))));
    assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    fs::remove_file(&path).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
    assert!(matches!(listen(&path, None, "me"), Err(ListenError::NotASocket(_))));
    std::os::unix::fs::symlink("elsewhere", folder.path().join("b.sock.lock")).unwrap();
    assert!(listen(&folder.path().join("b.sock"), None, "me").is_err());
}

#[test]
fn an_open_folder_is_refused() {
    let folder = folder();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(
        listen(&folder.path().join("a.sock"), None, "me"),
        Err(ListenError::Socket(SocketError::FolderOpen { .. }))
    ));
}

#[test]
fn the_longest_path_can_be_bound() {
    let folder = folder();
    let room = 107 - folder.path().as_os_str().len() - 1;
    let path = folder.path().join("n".repeat(room));
    let _listener = listen(&path, None, "me").unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_socket_that_was_given_stays_its_managers() {
    let folder = folder();
    let path = folder.path().join("a.sock");
    let managers = UnixListener::bind(&path).unwrap();
    let given = Given {
        socket: managers.try_clone().unwrap(),
        path: path.clone(),
    };
    let (listener, lock) = listen(&path, Some(given), "pid 7, x.py").unwrap();
    assert!(listener.is_given());
    // Another is told how that one is stopped, with a manager's socket and without.
    for given in [None, Some(managers.try_clone().unwrap())] {
        let given = given.map(|socket| Given {
            socket,
            path: path.clone(),
        });
        let refusal = listen(&path, given, "other").err().unwrap().to_string();
        assert!(refusal.contains("(pid 7, x.py, under systemd)"), "{refusal}");
        assert!(
            refusal.contains("`systemctl --user stop baskd@a.socket baskd@a.service`"),
            "{refusal}"
        );
    }
    drop(listener);
    drop(lock);
    UnixStream::connect(&path).unwrap();
    managers.set_nonblocking(false).unwrap();
    managers.accept().unwrap();
    let _by_hand = lock_file(&folder.path().join("a.sock.lock"), "pid 8, x.py")
        .unwrap()
        .unwrap();
    let given = Given {
        socket: managers,
        path: path.clone(),
    };
    let refusal = listen(&path, Some(given), "other").err().unwrap().to_string();
    assert!(
        refusal.contains("by hand") && refusal.contains("(pid 8, x.py)"),
        "{refusal}"
    );
}

#[test]
fn who_has_it_is_told_and_nobody_is_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = lock_of(&folder.path().join("a.sock"));
    assert_eq!(holder(&path).unwrap(), None);
    assert!(!path.exists());
    let lock = lock_file(&path, "pid 7, /x, y/controller.py:C").unwrap().unwrap();
    let found = holder(&path).unwrap().unwrap();
    assert_eq!((found.pid, found.is_stopping), (Some(7), false));
    assert_eq!(found.who, "pid 7, /x, y/controller.py:C");
    let mut lock = lock;
    say_stopping(&mut lock);
    let found = holder(&path).unwrap().unwrap();
    assert_eq!((found.pid, found.is_stopping), (Some(7), true));
    drop(lock);
    assert_eq!(holder(&path).unwrap(), None);
}

/// Whoever asks all the time keeps no daemon from starting.
#[test]
fn a_question_is_not_a_daemon() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lock");
    drop(lock_file(&path, "pid 1, x").unwrap().unwrap());
    let is_over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..2)
        .map(|_| {
            let (path, is_over) = (path.clone(), is_over.clone());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    holder(&path).unwrap();
                }
            })
        })
        .collect();
    for turn in 0..2000 {
        let lock = lock_file(&path, &format!("pid {turn}, x")).unwrap();
        assert!(lock.is_ok(), "{lock:?}");
    }
    is_over.store(true, Ordering::Relaxed);
    for one in asking {
        one.join().unwrap();
    }
}
