use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use tempfile::TempDir;

use super::*;

/// A folder with all that there is: the controller is in `app/python`, `usr` is the PATH.
struct World {
    root: TempDir,
    variables: Vec<(&'static str, OsString)>,
}

impl World {
    fn new() -> World {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("app/python")).unwrap();
        fs::create_dir_all(root.path().join("usr")).unwrap();
        let variables = vec![
            ("PATH", root.path().join("usr").into_os_string()),
            ("HOME", root.path().join("home").into_os_string()),
        ];
        World { root, variables }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A program; what it says counts where somebody asks it. Another process writes it: where this one has it open to be
    /// written, a child that another thread forks at that moment would keep it from being run.
    fn program(&self, path: &str, script: &str) -> PathBuf {
        let path = self.at(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$0\" && chmod 755 \"$0\"";
        let mut shell = std::process::Command::new("/bin/sh");
        assert!(
            shell
                .args(["-c", write])
                .arg(&path)
                .arg(script)
                .status()
                .unwrap()
                .success()
        );
        path
    }

    fn python(&self, path: &str) -> PathBuf {
        self.program(path, "echo 3.12.1")
    }

    fn venv(&self, folder: &str) -> PathBuf {
        self.write(&format!("{folder}/pyvenv.cfg"), "home = /usr\nversion = 3.11.2\n");
        self.python(&format!("{folder}/bin/python"))
    }

    fn set(&mut self, name: &'static str, value: impl Into<OsString>) {
        self.variables.retain(|(other, _)| *other != name);
        self.variables.push((name, value.into()));
    }

    fn search(&self, asked: Option<&Path>) -> Search {
        let variable = |name: &str| {
            let set = self.variables.iter().find(|(other, _)| *other == name);
            set.map(|(_, value)| value.clone())
        };
        search(asked, &self.at("app/python"), &Surroundings::of(variable))
    }

    #[track_caller]
    fn finds(&self, path: &Path, found: &str) -> Search {
        let search = self.search(None);
        assert_found(&search, path, found);
        search
    }

    fn refuses(&self) -> String {
        self.search(None).interpreter.unwrap_err().to_string()
    }
}

#[track_caller]
fn assert_found(search: &Search, path: &Path, found: &str) {
    let interpreter = search.interpreter.as_ref().unwrap();
    assert_eq!((interpreter.path.as_path(), interpreter.found.as_str()), (path, found));
    assert_eq!(search.looked.last().unwrap().saw, path.display().to_string());
}

#[test]
fn the_order_is_that_of_the_rules() {
    let mut world = World::new();
    assert!(matches!(world.search(None).interpreter, Err(FindError::None)));
    let system = world.python("usr/python3");
    world.finds(&system, "python3 on the PATH");

    world.write(
        "app/pyproject.toml",
        "[project]\nrequires-python = '>=3.13'\n[tool.uv]\n",
    );
    let newer = world.python("usr/python3.13");
    world.finds(&newer, "python3.13 on the PATH, for requires-python \">=3.13\"");
    let newest = world.python("usr/python3.14");
    world.finds(&newest, "python3.14 on the PATH, for requires-python \">=3.13\"");

    world.write("app/.python-version", "# mine\n3.13\n");
    world.finds(&newer, ".python-version (3.13), python3.13 on the PATH");

    let uvs = world.python("uvs/python");
    let uv = format!(
        "[ \"$*\" = 'python find --offline --no-python-downloads --project {}' ] && echo {}",
        world.at("app").display(),
        uvs.display()
    );
    world.program("usr/uv", &uv);
    world.finds(&uvs, "uv python find");

    let conda = world.python("conda/bin/python");
    world.set("CONDA_PREFIX", world.at("conda"));
    world.set("CONDA_DEFAULT_ENV", "base");
    world.finds(&uvs, "uv python find");
    world.set("CONDA_DEFAULT_ENV", "mine");
    world.finds(&conda, "$CONDA_PREFIX");

    let env = world.venv("app/env");
    world.finds(&env, "env of the project");
    let plain = world.venv("app/python/venv");
    world.finds(&plain, "venv beside the controller");

    let pdm = world.python("pdm/python");
    world.write("app/.pdm-python", &format!("{}\n", pdm.display()));
    world.finds(&pdm, ".pdm-python of the project");

    let environment = world.venv("app/made/by-uv");
    world.set("UV_PROJECT_ENVIRONMENT", "made/by-uv");
    world.finds(&environment, "$UV_PROJECT_ENVIRONMENT");

    world.set("VIRTUAL_ENV", "");
    let above = world.venv("app/.venv");
    world.finds(&above, ".venv above the controller");
    let beside = world.venv("app/python/.venv");
    world.finds(&beside, ".venv beside the controller");

    let active = world.venv("active");
    world.set("VIRTUAL_ENV", world.at("active"));
    world.finds(&active, "$VIRTUAL_ENV");

    let asked = world.venv("asked");
    assert_found(&world.search(Some(&world.at("asked"))), &asked, "the venv asked for");
    assert_found(&world.search(Some(&asked)), &asked, "the interpreter asked for");
    assert_found(
        &world.search(Some(Path::new("python3"))),
        &system,
        "the name asked for, on the PATH",
    );
}

#[test]
fn a_project_that_is_asked_for_is_looked_through_by_itself() {
    let mut world = World::new();
    let system = world.python("usr/python3");
    world.venv("app/.venv");
    world.venv("active");
    world.set("VIRTUAL_ENV", world.at("active"));
    let other = world.at("other");
    let search = |world: &World| world.search(Some(&other));

    fs::create_dir(&other).unwrap();
    assert!(matches!(search(&world).interpreter, Err(FindError::NoVenv(_))));
    world.write("other/pyproject.toml", "[project]\nname = 'x'\n");
    let refused = search(&world).interpreter.unwrap_err().to_string();
    assert!(
        refused.contains("has no venv") && refused.contains("python3 -m venv .venv && .venv/bin/pip install ."),
        "{refused}"
    );
    world.write("other/uv.lock", "");
    let refused = search(&world).interpreter.unwrap_err().to_string();
    assert!(
        refused.contains(&format!("cd {} && uv sync", other.display())),
        "{refused}"
    );
    world.write("other/pyproject.toml", "[project]\nrequires-python = '>=3.9'\n");
    assert_found(
        &search(&world),
        &system,
        "python3 on the PATH, for requires-python \">=3.9\"",
    );
    let venv = world.venv("other/venv");
    assert_found(&search(&world), &venv, "venv of the project");
    let venv = world.venv("other/.venv");
    assert_found(&search(&world), &venv, ".venv of the project asked for");
}

#[test]
fn what_is_not_there_is_said() {
    let world = World::new();
    let refused = |asked: &str| world.search(Some(&world.at(asked))).interpreter.unwrap_err();
    assert!(matches!(refused("app"), FindError::NoVenv(_)));
    assert!(matches!(refused("no"), FindError::NotThere(_)));
    assert!(matches!(
        world.search(Some(Path::new("python3.99"))).interpreter,
        Err(FindError::NotThere(_))
    ));
}

#[test]
fn a_link_that_leads_nowhere_is_not_passed_over() {
    let world = World::new();
    world.python("usr/python3");
    world.write("app/.venv/pyvenv.cfg", "");
    fs::create_dir(world.at("app/.venv/bin")).unwrap();
    symlink("python3", world.at("app/.venv/bin/python")).unwrap();
    symlink("/opt/gone/python3.10", world.at("app/.venv/bin/python3")).unwrap();
    let refused = world.refuses();
    assert_eq!(
        refused,
        format!(
            "{0}/bin/python (.venv above the controller) is a link to /opt/gone/python3.10, which is not there: the venv was moved here \
             from elsewhere, or its Python was removed. Make it anew: `uv sync`, or `python3 -m venv --clear {0}` and its packages",
            world.at("app/.venv").display()
        )
    );
    fs::remove_file(world.at("app/.venv/bin/python3")).unwrap();
    symlink("python", world.at("app/.venv/bin/python3")).unwrap();
    assert!(world.refuses().contains("leads to itself"));
}

#[test]
fn what_can_t_run_is_refused_with_its_remedy() {
    let world = World::new();
    world.program("usr/python2.7", "exit 1");
    let old = world.at("usr/python3");
    symlink("python2.7", &old).unwrap();
    let refused = world.refuses();
    let what = format!(
        "{} (python3 on the PATH) is Python 2.7, and 3.9 or newer",
        old.display()
    );
    assert!(refused.starts_with(&what), "{refused}");
    let venv = world.venv("app/.venv");
    world.write("app/.venv/pyvenv.cfg", "version = 3.8.10\n");
    assert!(
        world
            .refuses()
            .contains("(.venv above the controller) is Python 3.8.10")
    );
    // What has not been told is not guessed: the start will tell.
    world.write("app/.venv/pyvenv.cfg", "");
    world.program("app/.venv/bin/python", "exit 1");
    world.finds(&venv, ".venv above the controller");
    fs::set_permissions(&venv, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(world.refuses().contains("is not executable: `chmod +x"));
}

#[test]
fn packages_that_may_be_missing_are_warned_of() {
    let world = World::new();
    let system = world.python("usr/python3");
    assert!(world.finds(&system, "python3 on the PATH").warnings.is_empty());
    world.write(
        "app/python/requirements.txt",
        "# all\n-r other.txt\nnumpy>=2\ntorch[cuda]\n",
    );
    let warnings = world.finds(&system, "python3 on the PATH").warnings;
    let [warning] = warnings.as_slice() else {
        panic!("{warnings:?}")
    };
    assert!(
        warning.contains("requirements.txt names packages (numpy, torch), and there is no venv"),
        "{warning}"
    );
    assert!(
        warning.contains(".venv/bin/pip install -r requirements.txt`"),
        "{warning}"
    );

    for (text, named, remedy) in [
        (
            "[project]\ndependencies = ['a', 'b', 'c', 'd']\n",
            "(a, b, c, …)",
            "pip install .",
        ),
        ("[project]\ndependencies = ['a']\n[tool.uv]\n", "(a)", "uv sync"),
        ("[project]\ndependencies = ['a']\n[tool.pdm]\n", "(a)", "pdm install"),
        (
            "[tool.poetry.dependencies]\npython = '^3.10'\nrich = '*'\n",
            "(rich)",
            "poetry install",
        ),
    ] {
        world.write("app/pyproject.toml", text);
        let warnings = world.search(None).warnings;
        let [warning] = warnings.as_slice() else {
            panic!("{text}: {warnings:?}")
        };
        assert!(warning.contains(named) && warning.contains(remedy), "{warning}");
    }
    world.venv("app/.venv");
    assert!(world.search(None).warnings.is_empty());
}

#[test]
fn a_version_that_nobody_has_is_an_error_with_its_remedy() {
    let world = World::new();
    world.python("usr/python3");
    world.python("usr/python3.10");
    world.write("app/pyproject.toml", "[project]\nrequires-python = '>=3.14,<4'\n");
    assert_eq!(
        world.refuses(),
        format!(
            "{} wants Python >=3.14,<4, and there is only 3.10, 3.12.1: install one, and make a venv with `python3.14 -m venv .venv`, \
             or name an interpreter with --python",
            world.at("app/pyproject.toml").display()
        )
    );
    world.write("app/pyproject.toml", "[project]\nrequires-python = 'new'\n");
    let search = world.search(None);
    assert!(search.interpreter.is_ok() && search.warnings[0].contains("can't be read"));
}

#[test]
fn pyenv_s_shims_are_passed_over_for_the_versions_themselves() {
    let mut world = World::new();
    world.python("home/.pyenv/shims/python3.13");
    let it = world.python("home/.pyenv/versions/3.13.2/bin/python3");
    world.python("home/.pyenv/versions/3.13.1/bin/python3");
    let named = world.python("home/.pyenv/versions/chat/bin/python");
    let uvs = world.python("home/.local/share/uv/python/cpython-3.11.4-linux-x86_64-gnu/bin/python3");
    world.set("PATH", world.at("home/.pyenv/shims"));
    world.write("app/pyproject.toml", "[project]\nrequires-python = '>=3.12'\n");
    world.finds(&it, "pyenv's 3.13.2, for requires-python \">=3.12\"");
    world.write("app/.python-version", "chat\n");
    world.finds(&named, ".python-version (chat), pyenv's");
    world.write("app/.python-version", "cpython@3.11.4\n");
    world.finds(&uvs, ".python-version (cpython@3.11.4), uv's 3.11.4");
    world.write("app/.python-version", "3.9.1\n");
    let search = world.finds(&it, "pyenv's 3.13.2, for requires-python \">=3.12\"");
    assert!(
        search.warnings[0].contains("says 3.9.1, which is not there: install it with"),
        "{:?}",
        search.warnings
    );
}

#[test]
fn what_is_passed_over_is_told() {
    let mut world = World::new();
    let system = world.python("usr/python3");
    fs::create_dir_all(world.at("app/.venv/Scripts")).unwrap();
    world.set("VIRTUAL_ENV", world.at("gone"));
    let search = world.finds(&system, "python3 on the PATH");
    assert!(
        search.warnings[0].starts_with("$VIRTUAL_ENV is "),
        "{:?}",
        search.warnings
    );
    assert!(
        search.warnings[1].contains("/app/.venv has no bin/python"),
        "{:?}",
        search.warnings
    );
    let looked: Vec<_> = search.looked.iter().map(|looked| looked.at).collect();
    assert_eq!(looked.len(), 10, "{looked:?}");
    assert_eq!((looked[0], looked[9]), ("$VIRTUAL_ENV", "python3 on the PATH"));
}

#[test]
fn what_could_not_be_started_is_told_with_its_remedy() {
    let world = World::new();
    let start = |path: &Path| why_not(path, &std::process::Command::new(path).spawn().unwrap_err());
    let text = world.write("text", "hello");
    assert!(
        start(&text).contains("is not executable: `chmod +x"),
        "{}",
        start(&text)
    );
    fs::set_permissions(&text, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(start(&text).contains("it is no program"), "{}", start(&text));
    let script = world.write("script", "#!/opt/gone/python3 -E\n");
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        start(&script).contains("a script for /opt/gone/python3, which is not there"),
        "{}",
        start(&script)
    );
    assert!(start(&world.at("nothing")).contains("it was there when the daemon was started"));

    // The head of a program for another machine.
    let mut elf = fs::read("/proc/self/exe").unwrap()[..64].to_vec();
    let other: u16 = if cfg!(target_arch = "aarch64") { 62 } else { 183 };
    elf[18..20].copy_from_slice(&other.to_le_bytes());
    let foreign = world.at("foreign");
    fs::write(&foreign, elf).unwrap();
    fs::set_permissions(&foreign, fs::Permissions::from_mode(0o755)).unwrap();
    let told = start(&foreign);
    assert!(
        told.contains("it was made for ") && told.contains("and this machine runs "),
        "{told}"
    );
}

#[test]
fn only_files_of_the_user_or_of_root_are_followed() {
    for (owner, user, trusted) in [
        (1000, 1000, true),
        (0, 1000, true),
        (0, 0, true),
        (1001, 1000, false),
        (1000, 0, false),
    ] {
        assert_eq!(is_trusted(owner, user), trusted, "{owner} {user}");
    }
}

#[test]
fn what_another_user_has_put_there_is_passed_over() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let another = |path: &Path| std::os::unix::fs::lchown(path, Some(65_533), Some(65_533)).unwrap();
    let mut world = World::new();
    let system = world.python("usr/python3");
    let planted = world.venv(".venv");
    another(&world.at(".venv"));
    let search = world.finds(&system, "python3 on the PATH");
    let said = format!(
        "{} belongs to another user (id 65533), and is passed over: --python follows what it names",
        world.at(".venv").display()
    );
    assert!(search.warnings.contains(&said), "{:?}", search.warnings);
    assert!(
        search.looked.iter().any(|looked| looked.saw == said),
        "{:?}",
        search.looked
    );
    // Of a link it counts who has made it.
    symlink(world.at(".venv"), world.at("app/.venv")).unwrap();
    world.finds(&world.at("app/.venv/bin/python"), ".venv above the controller");
    another(&world.at("app/.venv"));
    world.finds(&system, "python3 on the PATH");

    world.python("usr/python3.13");
    for (file, text) in [
        ("pyproject.toml", "[project]\nrequires-python = '>=3.13'\n"),
        (".pdm-python", planted.to_str().unwrap()),
        (".python-version", "3.13\n"),
    ] {
        another(&world.write(file, text));
    }
    let search = world.finds(&system, "python3 on the PATH");
    for file in ["pyproject.toml", ".python-version"] {
        let path = world.at(file).display().to_string();
        let told = search.warnings.iter().filter(|said| said.starts_with(&path));
        assert_eq!(told.count(), 1, "{:?}", search.warnings);
    }
    // The project may be one's own, and that file not.
    std::os::unix::fs::chown(world.at("pyproject.toml"), Some(0), Some(0)).unwrap();
    world.finds(
        &world.at("usr/python3.13"),
        "python3.13 on the PATH, for requires-python \">=3.13\"",
    );

    // What is asked for is followed.
    assert_found(&world.search(Some(&world.at(".venv"))), &planted, "the venv asked for");
    world.set("VIRTUAL_ENV", world.at(".venv"));
    world.finds(&planted, "$VIRTUAL_ENV");
}

#[test]
fn a_reason_is_one_line() {
    let world = World::new();
    world.write(
        "app/pyproject.toml",
        "[project]\nrequires-python = \"\"\"\n>=3.12,\n>=3.11\t\"\"\"\n",
    );
    let newer = world.python("usr/python3.13");
    let search = world.search(None);
    let found = search.interpreter.unwrap();
    assert_eq!(found.path, newer);
    assert!(!found.found.contains(char::is_control), "{:?}", found.found);
    world.write(
        "app/pyproject.toml",
        "[project]\nrequires-python = \">=3.9\\nlog = 'trace' #\"\n",
    );
    let warnings = world.search(None).warnings;
    assert!(
        !warnings.iter().any(|said| said.contains(char::is_control)),
        "{warnings:?}"
    );
}
