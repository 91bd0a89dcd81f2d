use std::path::Path;

use super::file::File;
use super::*;

fn read(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let path = Path::new("/home/me/project/baskd.toml");
    let file = File { path, text };
    file.apply(&mut settings).map_err(|error| error.to_string())?;
    Ok(settings)
}

/// What is said of a file's only mistake, after its place.
fn refusal(text: &str) -> String {
    let error = read(text).unwrap_err();
    let place = "/home/me/project/baskd.toml, line ";
    error
        .strip_prefix(place)
        .unwrap_or_else(|| panic!("{error}"))
        .to_owned()
}

#[test]
fn a_file_sets_what_it_names_and_nothing_else() {
    let settings = read(
        "controller = \"models.py:Llama\"\npython = \".venv/bin/python\"\nworkers = 2\naffinity = \"connection\"\n\
         on_disconnect = \"finish\"\nlog = \"debug\"\ngrace = \"1m\"\ndrain_timeout = 5\nkill_grace = 0.25\n\
         max_queue = 30_720\nmax_request = \"1MiB\"\nmax_id = 64\n\
         [methods.search]\ntimeout = \"30s\"\n[methods.\"get-all\"]\ntimeout = 2.5\n",
    )
    .unwrap();
    let controller = ControllerSpec::File {
        path: "/home/me/project/models.py".into(),
        class: "Llama".to_owned(),
    };
    assert_eq!(settings.controller, controller);
    assert_eq!(
        settings.python.as_deref(),
        Some(Path::new("/home/me/project/.venv/bin/python"))
    );
    assert_eq!((settings.workers, settings.affinity), (2, Affinity::Connection));
    assert_eq!(settings.on_disconnect, OnDisconnect::Finish);
    assert_eq!(
        (settings.log.as_str(), settings.grace),
        ("debug", Duration::from_secs(60))
    );
    let limits = &settings.limits;
    assert_eq!(limits.drain_timeout, Duration::from_secs(5));
    assert_eq!(limits.kill_grace, Duration::from_millis(250));
    assert_eq!(
        (limits.max_queue, limits.max_request, limits.max_id),
        (30_720, 1 << 20, 64)
    );
    assert_eq!(limits.timeouts["search"], Duration::from_secs(30));
    assert_eq!(limits.timeouts["get-all"], Duration::from_millis(2500));
    assert_eq!(
        (limits.max_batch, limits.startup_timeout),
        (1024, Duration::from_secs(600))
    );

    let nothing = read("# nothing\n").unwrap();
    assert_eq!(format!("{nothing:?}"), format!("{:?}", Settings::default()));
}

#[test]
fn names_are_looked_for_where_a_shell_would() {
    let python = |text: &str| read(text).unwrap().python.unwrap();
    assert_eq!(python("python = \"python3.12\""), Path::new("python3.12"));
    assert_eq!(python("python = \"/usr/bin/python3\""), Path::new("/usr/bin/python3"));
    let home = PathBuf::from(env::var_os("HOME").unwrap());
    assert_eq!(python("python = \"~/venv\""), home.join("venv"));
    let module = ControllerSpec::Module {
        module: "my.models".to_owned(),
        class: "Llama".to_owned(),
    };
    assert_eq!(read("controller = \"my.models:Llama\"").unwrap().controller, module);
}

#[test]
fn an_unknown_key_is_refused_with_its_line_and_the_nearest() {
    assert_eq!(
        refusal("\nworkers = 1\nmax_queu = 5\n"),
        "3: `max_queu` is no setting: did you mean `max_queue`?"
    );
    assert_eq!(
        refusal("drainTimeout = 5"),
        "1: `drainTimeout` is no setting: did you mean `drain_timeout`?"
    );
    let all = refusal("xyzzy = 5");
    assert!(
        all.starts_with("1: `xyzzy` is no setting: there are controller, python"),
        "{all}"
    );
    assert!(refusal("[limits]\nmax_queue = 5").starts_with("1: `limits` is no table that is known"));
    assert_eq!(
        refusal("[methods.f]\ntimeouts = 5"),
        "2: `methods.f.timeouts` is no setting: a method has `timeout`"
    );
    // The first of several, as they stand in the file.
    assert!(refusal("zz = 1\naa = 2").starts_with("1: `zz`"));
}

#[test]
fn a_wrong_value_is_refused_with_what_it_must_be() {
    assert_eq!(
        refusal("workers = 0"),
        "1: `workers` must be a whole number from 1 to 64, not 0"
    );
    assert_eq!(
        refusal("max_queue = 30721"),
        "1: `max_queue` must be a whole number from 1 to 30720, not 30721"
    );
    assert_eq!(
        refusal("affinity = 'conection'"),
        "1: `affinity` must be \"none\" or \"connection\", not 'conection'"
    );
    assert_eq!(
        refusal("max_request = \"32 megs\""),
        "1: `max_request` must be a number of bytes, or a text such as \"32MiB\", from 1 KiB to 1 GiB, not \"32 megs\""
    );
    assert_eq!(
        refusal("\n\nstall_timeout = \"soon\""),
        "3: `stall_timeout` must be a duration such as \"250ms\", \"30s\", \"5m\" or a number of seconds, from 1ms to a year, \
         not \"soon\""
    );
    for wrong in [
        "workers = \"2\"",
        "workers = 1.5",
        "workers = -1",
        "workers = true",
        "workers = 0x2",
        "max_request = 0",
        "max_nesting = 129",
        "startup_timeout = 0",
        "grace = -1",
        "grace = inf",
        "grace = \"8761h\"",
        "controller = 5",
        "controller = \"a b\"",
        "python = \"\"",
        "log = \"very=loud=indeed\"",
        "methods = 5",
        "[methods]\nf = 5",
        "[methods.f]\ntimeout = 0",
        "[methods.f]\ntimeout = true",
        "workers = [1,\n2]",
    ] {
        assert!(refusal(wrong).contains(" must be "), "{wrong}");
    }
}

#[test]
fn what_is_no_toml_is_refused_with_its_line() {
    assert_eq!(refusal("workers = 1\nworkers = 2"), "2: duplicate key");
    assert!(refusal("workers = 1\n\nlog = \"info\nx").starts_with("3: "));
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no.toml");
    let mut settings = Settings::default();
    assert!(file::read(&mut settings, &path, false).is_ok());
    let error = file::read(&mut settings, &path, true).unwrap_err().to_string();
    assert!(error.contains("no.toml: the config can't be read"), "{error}");
}

#[test]
fn flags_say_which_they_are() {
    let mut settings = Settings::default();
    settings.set_flag("--workers", "3").unwrap();
    assert_eq!(settings.workers, 3);
    let error = settings.set_flag("--workers", "many").unwrap_err().to_string();
    assert_eq!(error, "--workers: must be a whole number from 1 to 64, not \"many\"");
}
