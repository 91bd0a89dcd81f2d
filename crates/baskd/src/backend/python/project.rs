//! What a project says of its Python: `pyproject.toml`, `uv.lock`, `.pdm-python`, `requirements.txt`.

use std::fs;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// How many packages a warning names.
const NAMED: usize = 3;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Project {
    pub(super) folder: PathBuf,
    file: &'static str,
    has_lock: bool,
    /// The tables below `[tool]`.
    tools: Vec<String>,
    requires_python: Option<String>,
    packages: Vec<String>,
}

impl Project {
    /// That in this very folder: one with a `pyproject.toml`, or a `uv.lock`.
    pub(super) fn of(folder: &Path) -> Option<Project> {
        let has_lock = folder.join("uv.lock").is_file();
        let text = fs::read_to_string(folder.join("pyproject.toml")).ok();
        if text.is_none() && !has_lock {
            return None;
        }
        let mut project = Project {
            folder: folder.to_owned(),
            file: if text.is_some() { "pyproject.toml" } else { "uv.lock" },
            has_lock,
            ..Project::default()
        };
        // One that can't be read says nothing; its own tools complain about it.
        if let Some(table) = text.as_deref().and_then(|text| DeTable::parse(text).ok()) {
            project.read(table.get_ref());
        }
        Some(project)
    }

    /// A folder that names its packages in `requirements.txt`, and nothing else.
    pub(super) fn by_requirements(folder: &Path) -> Option<Project> {
        let text = fs::read_to_string(folder.join("requirements.txt")).ok()?;
        let names = text.lines().map(str::trim);
        let names = names.filter(|line| !line.is_empty() && !line.starts_with(['#', '-']));
        Some(Project {
            folder: folder.to_owned(),
            file: "requirements.txt",
            packages: names.map(package).collect(),
            ..Project::default()
        })
    }

    fn read(&mut self, table: &DeTable<'_>) {
        let project = table.get("project").and_then(|value| value.get_ref().as_table());
        let tool = table.get("tool").and_then(|value| value.get_ref().as_table());
        self.tools = tool
            .into_iter()
            .flatten()
            .map(|(name, _)| name.get_ref().to_string())
            .collect();
        let text = |value: &DeValue<'_>| value.as_str().map(str::to_owned);
        if let Some(project) = project {
            self.requires_python = project.get("requires-python").and_then(|value| text(value.get_ref()));
            let packages = project.get("dependencies").and_then(|value| value.get_ref().as_array());
            let packages = packages.into_iter().flat_map(|packages| packages.iter());
            self.packages = packages
                .filter_map(|value| value.get_ref().as_str())
                .map(package)
                .collect();
        }
        let poetry = tool
            .and_then(|tool| tool.get("poetry")?.get_ref().as_table())
            .and_then(|poetry| poetry.get("dependencies")?.get_ref().as_table());
        if let Some(packages) = poetry {
            let python = packages.get("python").and_then(|value| text(value.get_ref()));
            self.requires_python = self.requires_python.take().or(python);
            let names = packages.keys().map(|name| name.get_ref().to_string());
            self.packages.extend(names.filter(|name| name != "python"));
        }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.join(self.file)
    }

    pub(super) fn is_uvs(&self) -> bool {
        self.has_lock || self.has_tool("uv")
    }

    fn has_tool(&self, name: &str) -> bool {
        self.tools.iter().any(|tool| tool == name)
    }

    pub(super) fn requires_python(&self) -> Option<String> {
        self.requires_python.clone()
    }

    /// What pdm has chosen.
    pub(super) fn pdm_python(&self) -> Option<PathBuf> {
        let text = fs::read_to_string(self.folder.join(".pdm-python")).ok()?;
        let path = text.trim();
        (!path.is_empty()).then(|| self.folder.join(path))
    }

    /// The first packages that it needs, to be named; empty if it needs none.
    pub(super) fn packages(&self) -> String {
        let mut named = self.packages.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        if self.packages.len() > NAMED {
            named.push_str(", …");
        }
        named
    }

    /// What makes a venv with its packages.
    pub(super) fn remedy(&self, python: &str) -> String {
        let folder = self.folder.display();
        if self.is_uvs() {
            return format!("cd {folder} && uv sync");
        }
        if self.has_tool("pdm") {
            return format!("cd {folder} && pdm install");
        }
        if self.has_tool("poetry") {
            // poetry's own place for venvs is named after a hash, and which of them is this project's only poetry knows.
            return format!("cd {folder} && poetry config --local virtualenvs.in-project true && poetry install");
        }
        let what = if self.file == "requirements.txt" {
            "-r requirements.txt"
        } else {
            "."
        };
        format!("cd {folder} && {python} -m venv .venv && .venv/bin/pip install {what}")
    }
}

/// The name in `numpy[extra]>=2; python_version > "3.9"`.
fn package(requirement: &str) -> String {
    let end = requirement.find(|letter: char| !letter.is_alphanumeric() && !"-_.".contains(letter));
    requirement[..end.unwrap_or(requirement.len())].to_owned()
}
