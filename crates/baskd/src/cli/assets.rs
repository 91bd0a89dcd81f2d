//! `completions` and `man`: what a package installs beside the binary, made of the command line's own definition.
//!
//! They are made by the binary that was built, not while it is built: a build script can't see the definition without
//! compiling this crate a second time. `tests/run build` writes them to target/assets.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::exit::Failure;
use super::{output, runtime};

/// Print what makes a shell complete `baskd`
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  baskd completions bash > ~/.local/share/bash-completion/completions/baskd
  baskd completions zsh > ~/.zfunc/_baskd           with ~/.zfunc in $fpath, before compinit
  baskd completions fish > ~/.config/fish/completions/baskd.fish
  eval \"$(baskd completions bash)\"                  for this shell alone")]
pub(crate) struct Completions {
    /// bash, zsh, fish, elvish or powershell
    #[arg(hide_possible_values = true)]
    shell: Shell,
}

/// Print a manual page, or write all of them
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  baskd man | man -l -                              the page of baskd
  baskd man serve | man -l -                        that of one command
  baskd man --dir ~/.local/share/man/man1           all of them; then `man baskd-serve`")]
pub(crate) struct ManPage {
    /// The page of this command [default: that of baskd itself]
    #[arg(conflicts_with = "dir")]
    command: Option<String>,
    /// Write the pages of baskd and of all its commands there
    #[arg(long, value_name = "FOLDER")]
    dir: Option<PathBuf>,
}

impl Completions {
    pub(crate) fn run(&self, mut definition: Command) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut definition, "baskd", &mut script);
        runtime()?.block_on(output::bytes(&script))
    }
}

impl ManPage {
    pub(crate) fn run(&self, mut definition: Command) -> Result<(), Failure> {
        definition.build();
        let shown: Vec<_> = definition
            .get_subcommands()
            .filter(|command| !command.is_hide_set())
            .collect();
        if let Some(folder) = &self.dir {
            return write_all(&definition, &shown, folder).map_err(|error| {
                Failure::Failed(format!("{}: the pages can't be written: {error}", folder.display()))
            });
        }
        let wanted = match &self.command {
            None => Some(&definition),
            Some(name) => shown.iter().find(|command| command.get_name() == name).copied(),
        };
        let Some(wanted) = wanted else {
            let names: Vec<_> = shown.iter().map(|command| command.get_name()).collect();
            return Err(Failure::Usage(format!(
                "there is no such command: there are {}",
                names.join(", ")
            )));
        };
        let text = page(wanted, &definition).map_err(output::failure)?;
        runtime()?.block_on(output::bytes(&text))
    }
}

fn write_all(definition: &Command, shown: &[&Command], folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for command in shown.iter().copied().chain([definition]) {
        fs::write(folder.join(file_name(command)), page(command, definition)?)?;
    }
    Ok(())
}

fn file_name(command: &Command) -> String {
    format!("{}.1", title(command))
}

fn title(command: &Command) -> &str {
    command.get_display_name().unwrap_or_else(|| command.get_name())
}

/// clap's sections, and what follows a command's help as sections of their own: there, lines that are indented are examples
/// and tables, which must stay as they are.
fn page(command: &Command, definition: &Command) -> io::Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut text = Vec::new();
    let version = format!("baskd {}", definition.get_version().unwrap_or_default());
    let mut head = Roff::new();
    // No date: the page is the same whenever it is made. (An argument that is empty has to be quoted here.)
    head.control(
        "TH",
        [title(command).to_uppercase().as_str(), "1", "\"\"", &version, "baskd"],
    );
    head.to_writer(&mut text)?;
    man.render_name_section(&mut text)?;
    man.render_synopsis_section(&mut text)?;
    man.render_description_section(&mut text)?;
    man.render_options_section(&mut text)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut text)?;
    }
    let after = command.get_after_long_help().or_else(|| command.get_after_help());
    let mut rest = Roff::new();
    sections(&mut rest, &after.map(ToString::to_string).unwrap_or_default());
    if command.has_subcommands() {
        places(&mut rest);
    }
    see_also(&mut rest, command, definition);
    rest.to_writer(&mut text)?;
    Ok(plain(&text).into_bytes())
}

/// Letters beyond ASCII as roff's own escapes: not every roff expects UTF-8.
fn plain(text: &[u8]) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in String::from_utf8_lossy(text).chars() {
        if letter.is_ascii() {
            plain.push(letter);
        } else {
            plain.push_str(&format!("\\[u{:04X}]", u32::from(letter)));
        }
    }
    plain
}

/// "Examples:" and its like head a section; what stands before them is notes.
fn sections(page: &mut Roff, text: &str) {
    let mut is_begun = false;
    let mut is_table = false;
    // A paragraph was.
    let mut is_ended = false;
    for line in text.lines() {
        let is_indented = line.starts_with("  ");
        if is_table && !is_indented {
            page.control("fi", []);
            page.control("RE", []);
            is_table = false;
            is_ended = true;
        }
        match line.strip_suffix(':') {
            Some(head) if !is_indented && head.split(' ').count() <= 2 => {
                page.control("SH", [head.to_uppercase().as_str()]);
                (is_begun, is_ended) = (true, false);
            }
            _ if line.trim().is_empty() => is_ended = true,
            _ => {
                if !is_begun {
                    page.control("SH", ["NOTES"]);
                    (is_begun, is_ended) = (true, false);
                }
                if std::mem::take(&mut is_ended) && !is_indented {
                    page.control("PP", []);
                }
                if is_indented && !is_table {
                    page.control("RS", ["2"]);
                    page.control("nf", []);
                    is_table = true;
                }
                page.text([roman(line.strip_prefix("  ").unwrap_or(line))]);
            }
        }
    }
    if is_table {
        page.control("fi", []);
        page.control("RE", []);
    }
}

/// Of the page of baskd itself.
fn places(page: &mut Roff) {
    let rows = |page: &mut Roff, head, rows: &[(&str, &str)]| {
        page.control("SH", [head]);
        for (name, what) in rows {
            page.control("TP", []);
            page.text([bold(*name)]);
            page.text([roman(*what)]);
        }
    };
    let files = [
        ("$XDG_RUNTIME_DIR/baskd/NAME.sock", "The socket of the instance NAME."),
        (
            "$XDG_CONFIG_HOME/baskd/NAME.toml",
            "Its settings (~/.config where the variable is not set): baskd config --default prints all there are.",
        ),
        (
            "$XDG_STATE_HOME/baskd/NAME/",
            "Its properties, its last snapshot, and the log of a daemon in the background (~/.local/state where the variable is not set).",
        ),
    ];
    let environment = [
        (
            "BASKD_NAME, BASKD_SOCKET",
            "The instance that is meant where --name and --socket are not given.",
        ),
        ("BASKD_CONFIG", "The config file, which then must be there."),
        (
            "BASKD_START",
            "With 0, no command starts a daemon that was not running.",
        ),
        (
            "BASKD_WORKERS, BASKD_MAX_QUEUE, …",
            "A setting, by its name in capitals. It goes before the config file, and a flag before it.",
        ),
    ];
    rows(page, "FILES", &files);
    rows(page, "ENVIRONMENT", &environment);
}

fn see_also(page: &mut Roff, command: &Command, definition: &Command) {
    let shown = definition.get_subcommands().filter(|other| !other.is_hide_set());
    let others = shown
        .chain([definition])
        .map(title)
        .filter(|other| *other != title(command));
    let mut others: Vec<_> = others.collect();
    others.sort_unstable();
    page.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for other in others {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(other), roman("(1)")]);
    }
    page.text(line);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_help_becomes_sections() {
        let mut page = Roff::new();
        sections(
            &mut page,
            "It waits.\n\nExamples:\n  baskd x      first\n  .baskd y\n\nExit status:\n  0 done",
        );
        assert_eq!(
            page.to_roff(),
            ".SH NOTES\nIt waits.\n.SH EXAMPLES\n.RS 2\n.nf\nbaskd x      first\n\\&.baskd y\n.fi\n.RE\n.SH \"EXIT STATUS\"\n\
             .RS 2\n.nf\n0 done\n.fi\n.RE\n"
        );
    }
}
