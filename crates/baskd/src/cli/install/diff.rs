//! What a file's lines are now and what they are to be, as `diff` would show it. The files are short, and so is this.

/// Each line, with what becomes of it: `' '` it stays, `'-'` it goes, `'+'` it comes.
pub(super) fn lines<'a>(before: &'a str, after: &'a str) -> Vec<(char, &'a str)> {
    let (old, new): (Vec<_>, Vec<_>) = (before.lines().collect(), after.lines().collect());
    // How long the longest common part of what follows is.
    let mut common = vec![vec![0_usize; new.len() + 1]; old.len() + 1];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            common[i][j] = match old[i] == new[j] {
                true => common[i + 1][j + 1] + 1,
                false => common[i + 1][j].max(common[i][j + 1]),
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    let mut shown = Vec::new();
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            shown.push((' ', old[i]));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            shown.push(('-', old[i]));
            i += 1;
        } else {
            shown.push(('+', new[j]));
            j += 1;
        }
    }
    shown
}

/// The lines that change, with two around them; `…` stands for those left out.
pub(super) fn shown(before: &str, after: &str) -> String {
    const AROUND: usize = 2;
    let lines = lines(before, after);
    let is_near = |at: usize| {
        let near = at.saturating_sub(AROUND)..(at + AROUND + 1).min(lines.len());
        lines[near].iter().any(|(change, _)| *change != ' ')
    };
    let mut text = String::new();
    let mut was_left_out = false;
    for (at, (change, line)) in lines.iter().enumerate() {
        if is_near(at) {
            text.push_str(format!("    {change} {line}").trim_end());
            text.push('\n');
            was_left_out = false;
        } else if !std::mem::replace(&mut was_left_out, true) {
            text.push_str("      …\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_is_shown_with_what_is_around_it() {
        let before = "a\nb\nc\nd\ne\nf\ng\n";
        let after = "a\nb\nc\nD\ne\nf\ng\nh\n";
        assert_eq!(
            shown(before, after),
            "      …\n      b\n      c\n    - d\n    + D\n      e\n      f\n      g\n    + h\n"
        );
        assert_eq!(shown("", "x\n"), "    + x\n");
        assert_eq!(shown("x\n", ""), "    - x\n");
    }
}
