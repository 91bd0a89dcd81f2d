//! Which versions a project allows: `requires-python` as PEP 440 has it, and poetry's `python`.

use super::versions::Version;

/// Any of these, each of which is all of its bounds.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Requires(Vec<Vec<Bound>>);

#[derive(Debug, PartialEq, Eq)]
struct Bound {
    operator: Operator,
    major: u32,
    minor: Option<u32>,
    micro: Option<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    AtLeast,
    AtMost,
    Above,
    Below,
    Is,
    IsNot,
    /// `~=3.10`: from there, within the part before the last.
    Compatible,
    /// `^3.10`, poetry's: from there, within the major version.
    SameMajor,
    /// `~3.10`, poetry's: from there, within the minor version.
    SameMinor,
}

const OPERATORS: &[(&str, Operator)] = &[
    (">=", Operator::AtLeast),
    ("<=", Operator::AtMost),
    ("===", Operator::Is),
    ("==", Operator::Is),
    ("!=", Operator::IsNot),
    ("~=", Operator::Compatible),
    (">", Operator::Above),
    ("<", Operator::Below),
    ("^", Operator::SameMajor),
    ("~", Operator::SameMinor),
    ("", Operator::Is),
];

impl Requires {
    /// None if it can't be read.
    pub(super) fn parse(text: &str) -> Option<Requires> {
        let any = text.split('|').map(str::trim).filter(|all| !all.is_empty());
        let any: Option<Vec<_>> = any
            .map(|all| {
                let bounds = all.split([',', ' ']).map(str::trim).filter(|bound| !bound.is_empty());
                // "* " allows all; a space may stand between an operator and its version.
                let mut joined: Vec<String> = Vec::new();
                for bound in bounds {
                    match joined.last_mut() {
                        Some(last) if last.chars().all(|letter| "<>=!~^".contains(letter)) => last.push_str(bound),
                        _ => joined.push(bound.to_owned()),
                    }
                }
                joined
                    .iter()
                    .filter(|bound| *bound != "*")
                    .map(|bound| Bound::parse(bound))
                    .collect()
            })
            .collect();
        any.filter(|any| !any.is_empty()).map(Requires)
    }

    pub(super) fn allows(&self, version: Version) -> bool {
        self.0.iter().any(|all| all.iter().all(|bound| bound.allows(version)))
    }

    /// A version that would do, for a remedy.
    pub(super) fn example(&self) -> String {
        let minors = (9..=40).map(|minor| Version::minor(3, minor));
        let allowed = minors.filter(|version| self.allows(*version)).min();
        allowed.map_or_else(|| "3".to_owned(), |version| version.to_string())
    }
}

impl Bound {
    fn parse(text: &str) -> Option<Bound> {
        let (sign, operator) = OPERATORS.iter().find(|(sign, _)| text.starts_with(sign))?;
        let version = text[sign.len()..].trim().trim_start_matches('v');
        let mut parts = version.split('.').take_while(|part| *part != "*");
        let number = |part: &str| {
            let end = part.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(part.len());
            part[..end].parse::<u32>().ok()
        };
        let major = number(parts.next()?)?;
        let minor = parts.next().map(number).map_or(Some(None), |minor| minor.map(Some))?;
        let micro = parts.next().map(number).map_or(Some(None), |micro| micro.map(Some))?;
        Some(Bound {
            operator: *operator,
            major,
            minor,
            micro,
        })
    }

    /// A version whose last number is not known is taken for a late one, as it mostly is.
    fn allows(&self, version: Version) -> bool {
        let is_known = version.micro.is_some();
        let it = (version.major, version.minor, version.micro.unwrap_or(u32::MAX));
        let from = (self.major, self.minor.unwrap_or(0), self.micro.unwrap_or(0));
        let starts_so = version.major == self.major
            && self.minor.is_none_or(|minor| minor == version.minor)
            && self.micro.is_none_or(|micro| !is_known || Some(micro) == version.micro);
        let same_minor = (version.major, Some(version.minor)) == (self.major, self.minor.or(Some(version.minor)));
        match self.operator {
            Operator::AtLeast => it >= from,
            Operator::AtMost => it <= from || starts_so && self.micro.is_some(),
            Operator::Above => it > from,
            Operator::Below => it < from,
            Operator::Is => starts_so,
            // That very one may be another of its minor version.
            Operator::IsNot => !starts_so || !is_known && self.micro.is_some(),
            Operator::Compatible if self.micro.is_some() => it >= from && same_minor,
            Operator::Compatible | Operator::SameMajor => it >= from && version.major == self.major,
            Operator::SameMinor => it >= from && same_minor,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(text: &str) -> Vec<u32> {
        let requires = Requires::parse(text).unwrap_or_else(|| panic!("{text}"));
        (8..=14)
            .filter(|minor| requires.allows(Version::minor(3, *minor)))
            .collect()
    }

    #[test]
    fn what_projects_write() {
        for (text, minors) in [
            (">=3.10", vec![10, 11, 12, 13, 14]),
            (">= 3.10, < 3.13", vec![10, 11, 12]),
            (">=3.10.4,<3.12", vec![10, 11]),
            ("<3.11", vec![8, 9, 10]),
            ("<=3.11", vec![8, 9, 10]),
            ("<=3.11.4", vec![8, 9, 10, 11]),
            (">3.9,!=3.11.*", vec![9, 10, 12, 13, 14]),
            (">=3.9,!=3.11.2", vec![9, 10, 11, 12, 13, 14]),
            ("~=3.12", vec![12, 13, 14]),
            ("~=3.12.1", vec![12]),
            ("==3.11.*", vec![11]),
            ("==3.11.7", vec![11]),
            ("3.12.*", vec![12]),
            ("^3.10", vec![10, 11, 12, 13, 14]),
            ("~3.10", vec![10]),
            ("3.9 || >=3.13", vec![9, 13, 14]),
            ("*", vec![8, 9, 10, 11, 12, 13, 14]),
            (">=3", vec![8, 9, 10, 11, 12, 13, 14]),
        ] {
            assert_eq!(allowed(text), minors, "{text}");
        }
        for wrong in ["", "new", ">=", ">=x.y", ">=3.x"] {
            assert_eq!(Requires::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn where_the_whole_version_is_known_it_counts() {
        let version = |text| Version::parse(text).unwrap();
        let allows = |text: &str, it| Requires::parse(text).unwrap().allows(version(it));
        assert!(!allows(">=3.10.4", "3.10.2") && allows(">=3.10.4", "3.10.4"));
        assert!(!allows("!=3.11.2", "3.11.2") && allows("!=3.11.2", "3.11.3"));
        assert!(!allows("==3.11.2", "3.11.3"));
        assert_eq!(Requires::parse(">=3.14,<4").unwrap().example(), "3.14");
    }
}
