use std::path::Path;

use super::*;

fn read(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let path = Path::new("/home/me/project/baskd.toml");
    let mistakes = File { path, text }.apply(&mut settings, &mut Places::default());
    Error::of(mistakes).map_or(Ok(settings), |error| Err(error.to_string()))
}

/// What is said of a file's only mistake, after its place.
fn refusal(text: &str) -> String {
    let error = read(text).unwrap_err();
    let place = "/home/me/project/baskd.toml, line ";
    let said = error.strip_prefix(place).unwrap_or_else(|| panic!("{error}"));
    said.lines().next().unwrap().to_owned()
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
    assert!(refusal("workers = 1\n\nlog = \"info\nx").starts_with("3: this is no TOML: "));
    assert!(refusal("workers: 2").starts_with("1: this is no TOML: invalid unquoted key"));
    assert!(refusal("[methods.f\ntimeout = 1").starts_with("1: this is no TOML: unclosed table"));
    assert_eq!(
        refusal("workers = 1\nworkers = 2"),
        "2: `workers` is set twice: line 1 has it already"
    );
    assert_eq!(
        refusal("[methods.f]\ntimeout = 1\n\n[methods.f]\n"),
        "4: `[methods.f]` is there twice: write all of it below the first"
    );
}

#[test]
fn a_text_without_quotes_is_told_by_what_the_setting_takes() {
    for (text, what) in [
        (
            "log = info",
            "1: `log` must be a log level (error, warn, info, debug, trace) or a filter such as info,python=warn, not info (a text stands in quotes)",
        ),
        ("watch = True", "1: `watch` must be true or false, not True"),
        ("watch = yes", "1: `watch` must be true or false, not yes"),
        (
            "workers =",
            "1: `workers` must be a whole number from 1 to 64, not nothing",
        ),
        (
            "affinity = none",
            "1: `affinity` must be \"none\" or \"connection\", not none (a text stands in quotes)",
        ),
    ] {
        assert_eq!(refusal(text), what);
    }
    assert!(refusal("grace = 30s").starts_with("1: `grace` must be a duration"));
    assert!(refusal("max_request = 32MiB").ends_with("not 32MiB (a text stands in quotes)"));
    assert!(refusal("python = ~/venv").ends_with("not ~/venv (a text stands in quotes)"));
}

#[test]
fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
    for (text, what) in [
        (
            "[methods.f]\ntimeout = 5\nmax_queue = 5",
            "3: `max_queue` is a setting of the daemon, not of a method: write it above `[methods.f]`",
        ),
        (
            "timeout = 5",
            "1: `timeout` is a method's: write it below `[methods.NAME]`",
        ),
        (
            "[limits]\nmax_queue = 5",
            "1: there is no table `limits`: write `max_queue` at the top level, above all tables",
        ),
        (
            "limits.max_queue = 5",
            "1: there is no table `limits`: write `max_queue` at the top level, above all tables",
        ),
        (
            "[method.search]\ntimeout = 5",
            "1: there is no table `method`: did you mean `[methods.NAME]`?",
        ),
        (
            "[tool]\nx = 5",
            "1: there is no table `tool`: settings are written at the top level, above all tables, and methods as `[methods.NAME]`",
        ),
        (
            "[[methods]]\nname = 'f'",
            "1: `methods` must be a table: write `[methods.NAME]`, and below it `timeout = \"30s\"`",
        ),
    ] {
        assert_eq!(refusal(text), what, "{text}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_with_its_lines() {
    let text = "workers = 0\nmax-queue = 5\ngrace = 30s\nwatch = true\nwatch = false\n[methods.f]\ntimeout = 'soon'\n";
    let error = read(text).unwrap_err();
    let path = "/home/me/project/baskd.toml, line";
    assert_eq!(
        error,
        format!(
            "{path} 1: `workers` must be a whole number from 1 to 64, not 0\n  1 | workers = 0\n\
             {path} 2: `max-queue` is no setting: did you mean `max_queue`?\n  2 | max-queue = 5\n\
             {path} 3: `grace` must be a duration such as \"250ms\", \"30s\", \"5m\" or a number of seconds, from 0 to a year, not 30s \
             (a text stands in quotes)\n  3 | grace = 30s\n\
             {path} 5: `watch` is set twice: line 4 has it already\n  5 | watch = false\n\
             {path} 7: `methods.f.timeout` must be a duration such as \"250ms\", \"30s\", \"5m\" or a number of seconds, from 1ms to a year, \
             not 'soon'\n  7 | timeout = 'soon'"
        )
    );
    let text = "worker = 1\n";
    let mistakes = File {
        path: Path::new("/x.toml"),
        text,
    }
    .apply(&mut Settings::default(), &mut Places::default());
    assert_eq!(
        Error::of(mistakes).unwrap().to_json(),
        serde_json::json!([{
            "file": "/x.toml", "line": 1, "by": null, "key": "worker", "nearest": "workers", "text": "worker = 1",
            "message": "`worker` is no setting: did you mean `workers`?"
        }])
    );
}

#[test]
fn a_file_that_was_asked_for_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("no.toml");
    let mut settings = Settings::default();
    let mut read = |must_exist| Error::of(read_file(&mut settings, &mut Places::default(), &path, must_exist));
    assert_eq!(read(false), None);
    let error = read(true).unwrap().to_string();
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
