//! `uninstall`: all that `install` has made is taken away, and nothing else.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::facts::{self, Place};
use super::own::{Author, author};
use super::report::Report;
use super::step::{self, Step};
use super::{How, systemd, without_dry_run};
use crate::cli::exit::Failure;
use crate::cli::systemd::{Pair, service_unit, socket_unit};

/// Take away what `baskd install` has made, and stop the daemon first
#[derive(Debug, Args)]
#[command(after_help = "\
Calls under way end first. A config that was edited is kept as NAME.toml.saved. Properties and
snapshot stay, for the next daemon of that name, unless --purge is given.

Examples:
  baskd uninstall --name chat
  baskd uninstall --name chat --purge --dry-run")]
pub(crate) struct Uninstall {
    /// Remove its state, too: properties, snapshot, log
    #[arg(long)]
    purge: bool,
    /// Remove the files, and leave systemd alone
    #[arg(long)]
    files_only: bool,
    #[command(flatten)]
    how: How,
}

impl Uninstall {
    pub(crate) fn is_json(&self) -> bool {
        self.how.json
    }

    pub(crate) fn run(&self) -> Result<(), Failure> {
        let place = Place::of(self.how.name.as_deref())?;
        let (units, warning) = match self.files_only {
            true => (None, None),
            false => match facts::manager(&place, "`--files-only` removes the files only") {
                Ok(manager) => (Some(manager.units), None),
                // Without a manager nothing runs; where nothing is to be removed either, that is no error.
                Err(_) if !place.files.is_installed(&place.name) => (None, None),
                Err(why) if self.how.dry_run => (None, Some(without_dry_run(&why))),
                Err(why) => return Err(Failure::Failed(why)),
            },
        };
        let outsider = facts::outsider(&place, units.as_ref())?;
        if let (Some(outsider), true) = (&outsider, self.purge) {
            return Err(Failure::Failed(format!(
                "{outsider}, and needs its state: stop it with `baskd stop{}`, then run this again",
                place.flags()
            )));
        }
        let there = There::of(&place, units)?;
        let steps = there.plan(self.purge, facts::free);
        let mut report = Report::new(self.how.json, self.how.dry_run)?;
        if !there.is_installed() {
            report.line(
                "unchanged",
                &format!("nothing is installed for the instance {}", place.name),
            )?;
            if there.config.is_some() {
                let what = format!("{}, which `baskd install` has not written", place.config.display());
                report.line("unchanged", &what)?;
            }
        }
        report.go_through(&steps)?;
        if there.state.is_some() && !self.purge {
            let what = format!("its state, in {}: --purge removes it", place.state.display());
            report.line("kept", &what)?;
        }
        let outsider = outsider.map(|outsider| format!("{outsider}: `baskd stop{}` stops it", place.flags()));
        for warning in outsider.into_iter().chain(warning) {
            report.warn(warning)?;
        }
        report.finish(json!({
            "name": place.name,
            "was_installed": there.is_installed(),
            "state": there.state.filter(|_| !self.purge).map(|path| path.to_string_lossy().into_owned()),
        }))
    }
}

/// What of an instance is there.
struct There {
    name: String,
    folder: PathBuf,
    /// With whose it is, if it is there.
    config: Option<(PathBuf, Author)>,
    drop_in: Option<(PathBuf, Author)>,
    /// Drop-ins that somebody else has put beside it.
    theirs: Vec<PathBuf>,
    templates: Vec<(PathBuf, Author)>,
    links: Vec<PathBuf>,
    /// Other instances, which need the templates.
    others: BTreeSet<String>,
    state: Option<PathBuf>,
    units: Option<Pair>,
}

impl There {
    fn of(place: &Place, units: Option<Pair>) -> Result<There, Failure> {
        let look = |path: PathBuf| Ok::<_, Failure>(step::read(&path)?.map(|text| (path, author(&text))));
        let folder = place.files.0.clone();
        let mut templates = Vec::new();
        for name in ["baskd@.socket", "baskd@.service"] {
            templates.extend(look(folder.join(name))?);
        }
        let mut others = place.files.names();
        if units.is_some() {
            // One that was started without having been installed needs them just as well.
            others.extend(
                systemd::run(systemd::LIST).map_or_else(|_| BTreeSet::new(), |printed| systemd::listed(&printed)),
            );
        }
        others.remove(&place.name);
        Ok(There {
            name: place.name.clone(),
            config: look(place.config.clone())?,
            drop_in: look(place.files.drop_in(&place.name))?,
            theirs: place.files.others_drop_ins(&place.name),
            templates,
            links: place.files.links(&place.name),
            others,
            state: place.state.is_dir().then(|| place.state.clone()),
            units,
            folder,
        })
    }

    fn is_installed(&self) -> bool {
        self.has_instance() || self.has_leftovers()
    }

    fn has_instance(&self) -> bool {
        let runs =
            |units: &Pair| units.socket.is_active() || units.service.is_active() || units.socket.active == "failed";
        self.drop_in.is_some()
            || !self.links.is_empty()
            || self.config.as_ref().is_some_and(is_ours)
            || self.units.as_ref().is_some_and(runs)
    }

    /// Templates that nobody needs: an `uninstall` was kept from its end.
    fn has_leftovers(&self) -> bool {
        self.others.is_empty() && self.templates.iter().any(is_ours)
    }

    fn plan(&self, purge: bool, free: impl Fn(&Path) -> PathBuf) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut folders = Vec::new();
        if self.has_instance() {
            self.stop(&mut steps, &mut folders);
            self.remove(&mut steps, &mut folders, &free);
        }
        if self.is_installed() {
            self.remove_templates(&mut steps, &mut folders, &free);
            if self.units.is_some() {
                steps.push(Step::systemctl(&["daemon-reload"]));
                steps.push(Step::Systemctl {
                    arguments: vec![
                        "reset-failed".to_owned(),
                        socket_unit(&self.name),
                        service_unit(&self.name),
                    ],
                    // There is nothing to reset, mostly.
                    may_fail: true,
                });
            }
        }
        // Tidying comes last: whatever keeps a folder, systemd knows by then that the units are gone.
        steps.append(&mut folders);
        if let (Some(state), true) = (&self.state, purge) {
            steps.push(Step::RemoveTree { path: state.clone() });
            steps.extend(state.parent().map(folder));
        }
        steps
    }

    /// The socket first, so that nobody starts the service again. Returns when both have ended.
    fn stop(&self, steps: &mut Vec<Step>, folders: &mut Vec<Step>) {
        let (socket, service) = (socket_unit(&self.name), service_unit(&self.name));
        let mut is_disabled = false;
        if let Some(units) = &self.units {
            is_disabled = units.socket.file == "enabled";
            let was_reachable = units.socket.is_active();
            if is_disabled {
                steps.push(Step::systemctl(&["disable", "--now", &socket]));
            } else if was_reachable {
                steps.push(Step::systemctl(&["stop", &socket]));
            }
            if was_reachable || units.service.is_active() {
                steps.push(Step::systemctl(&["stop", &service]));
            }
        }
        for link in &self.links {
            if !(is_disabled && link.ends_with(&socket)) {
                steps.push(Step::Remove { path: link.clone() });
            }
            folders.extend(link.parent().map(folder));
        }
    }

    fn remove(&self, steps: &mut Vec<Step>, folders: &mut Vec<Step>, free: impl Fn(&Path) -> PathBuf) {
        for file in self.drop_in.iter().chain(&self.config) {
            steps.push(removed(file, &free));
            folders.extend(file.0.parent().map(folder));
        }
        for path in &self.theirs {
            let what = format!("{}, which is yours", path.display());
            steps.push(Step::Same { what });
        }
    }

    fn remove_templates(&self, steps: &mut Vec<Step>, folders: &mut Vec<Step>, free: impl Fn(&Path) -> PathBuf) {
        if self.others.is_empty() {
            steps.extend(self.templates.iter().map(|template| removed(template, &free)));
            folders.push(folder(&self.folder));
            folders.extend(self.folder.parent().map(folder));
        } else if !self.templates.is_empty() {
            let others: Vec<_> = self.others.iter().map(String::as_str).collect();
            let what = format!("the units, which others need: {}", others.join(", "));
            steps.push(Step::Same { what });
        }
    }
}

fn is_ours((_, author): &(PathBuf, Author)) -> bool {
    *author != Author::Other
}

/// A file of ours goes; one that is a person's gets another name.
fn removed((path, author): &(PathBuf, Author), free: impl Fn(&Path) -> PathBuf) -> Step {
    match author {
        Author::Us => Step::Remove { path: path.clone() },
        Author::Edited | Author::Other => Step::Keep {
            path: path.clone(),
            aside: free(path),
            why: match author {
                Author::Other => "`baskd install` has not written it",
                _ => "somebody has edited it",
            },
        },
    }
}

fn folder(path: &Path) -> Step {
    Step::RemoveFolder { path: path.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::systemd::Unit;

    fn there() -> There {
        let units = "/c/systemd/user";
        let unit = |active: &str, file: &str| Unit {
            active: active.to_owned(),
            file: file.to_owned(),
            ..Unit::default()
        };
        There {
            name: "chat".to_owned(),
            folder: units.into(),
            config: Some(("/c/baskd/chat.toml".into(), Author::Us)),
            drop_in: Some((format!("{units}/baskd@chat.service.d/10-baskd.conf").into(), Author::Us)),
            theirs: Vec::new(),
            templates: ["socket", "service"]
                .map(|kind| (format!("{units}/baskd@.{kind}").into(), Author::Us))
                .into(),
            links: vec![format!("{units}/sockets.target.wants/baskd@chat.socket").into()],
            others: BTreeSet::new(),
            state: Some("/s/baskd/chat".into()),
            units: Some(Pair {
                socket: unit("active", "enabled"),
                service: unit("active", "static"),
            }),
        }
    }

    fn told(there: &There, purge: bool) -> Vec<String> {
        let steps = there.plan(purge, |path| format!("{}.saved", path.display()).into());
        let told = steps.iter().map(|step| {
            let told = step.told(false);
            let what = told
                .what
                .replace("systemctl --user ", "")
                .replace("/c/systemd/user", "U");
            format!("{} {what}", told.word)
        });
        told.collect()
    }

    #[test]
    fn all_of_it_goes_in_this_order() {
        assert_eq!(
            told(&there(), true),
            [
                "ran disable --now baskd@chat.socket",
                "ran stop baskd@chat.service",
                "removed U/baskd@chat.service.d/10-baskd.conf",
                "removed /c/baskd/chat.toml",
                "removed U/baskd@.socket",
                "removed U/baskd@.service",
                "ran daemon-reload",
                "ran reset-failed baskd@chat.socket baskd@chat.service",
                "removed U/sockets.target.wants",
                "removed U/baskd@chat.service.d",
                "removed /c/baskd",
                "removed U",
                "removed /c/systemd",
                "removed /s/baskd/chat",
                "removed /s/baskd",
            ]
        );
        assert!(!told(&there(), false).contains(&"removed /s/baskd/chat".to_owned()));
    }

    #[test]
    fn what_others_need_or_have_written_stays() {
        let mut there = there();
        there.others.insert("search".to_owned());
        there.config = Some(("/c/baskd/chat.toml".into(), Author::Edited));
        let steps = told(&there, false);
        assert!(
            steps.contains(&"unchanged the units, which others need: search".to_owned()),
            "{steps:?}"
        );
        assert!(!steps.iter().any(|step| step.contains("baskd@.")), "{steps:?}");
        let kept = "kept /c/baskd/chat.toml as /c/baskd/chat.toml.saved: somebody has edited it";
        assert!(steps.contains(&kept.to_owned()), "{steps:?}");
    }

    #[test]
    fn without_a_manager_the_link_is_removed_by_hand() {
        let mut there = there();
        there.units = None;
        let steps = told(&there, false);
        assert_eq!(steps[0], "removed U/sockets.target.wants/baskd@chat.socket");
        assert!(!steps.iter().any(|step| step.starts_with("ran ")), "{steps:?}");
    }

    #[test]
    fn what_was_never_installed_is_left_alone() {
        let mut there = there();
        there.units = Some(Pair::default());
        there.links.clear();
        there.drop_in = None;
        there.config = Some(("/c/baskd/chat.toml".into(), Author::Other));
        // Templates that nobody needs were left by an `uninstall` that was kept from its end; a person's config stays.
        assert!(there.is_installed());
        assert_eq!(
            told(&there, false)[..2],
            ["removed U/baskd@.socket", "removed U/baskd@.service"]
        );
        assert!(!told(&there, false).iter().any(|step| step.contains("chat.toml")));
        there.others.insert("search".to_owned());
        assert!(!there.is_installed());
        there.others.clear();
        there.templates.clear();
        assert!(!there.is_installed());
        assert!(told(&there, false).is_empty());
        assert_eq!(told(&there, true), ["removed /s/baskd/chat", "removed /s/baskd"]);
    }
}
