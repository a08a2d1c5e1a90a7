//! Dockerfiles, as far as the project's own ones go.
//!
//! Owns: the parser. Invariant: an instruction, flag or form that it does not know is an error with
//! its line, so no step of a Dockerfile is passed over. Not here: the steps' execution.

use anyhow::{Context as _, Result, bail, ensure};

/// A stage: an image to begin with, and steps.
#[derive(Debug, PartialEq)]
pub(super) struct Stage {
    pub(super) base: String,
    /// The name after `AS`.
    pub(super) name: Option<String>,
    pub(super) steps: Vec<BuildStep>,
}

#[derive(Debug, PartialEq)]
pub(super) enum BuildStep {
    Run {
        /// Directories that outlive a build.
        caches: Vec<String>,
        command: String,
    },
    Copy(CopyStep),
    Env(Vec<(String, String)>),
    Workdir(String),
    User(Owner),
    Volume(String),
    Expose(u16),
    StopSignal(String),
    Entrypoint(Vec<String>),
}

#[derive(Debug, PartialEq)]
pub(super) struct CopyStep {
    /// The stage to copy from; `None` for the context.
    pub(super) from: Option<String>,
    pub(super) owner: Option<Owner>,
    pub(super) source: String,
    pub(super) target: String,
}

/// A user and a group by number, which need no `/etc/passwd`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Owner {
    pub(super) user: u32,
    pub(super) group: u32,
}

/// Parses a Dockerfile into its stages.
pub(super) fn parse(text: &str) -> Result<Vec<Stage>> {
    let mut stages: Vec<Stage> = Vec::new();
    for (line, instruction) in instructions(text) {
        let at = || format!("line {line}: {instruction}");
        let (keyword, rest) = instruction.split_once(' ').with_context(at)?;
        if keyword == "FROM" {
            stages.push(Stage::from(rest).with_context(at)?);
            continue;
        }
        let stage = stages.last_mut().context("there is no FROM before it").with_context(at)?;
        stage.steps.push(BuildStep::parse(keyword, rest).with_context(at)?);
    }
    ensure!(!stages.is_empty(), "there is no FROM");
    Ok(stages)
}

/// Returns each instruction as one line, with the number of its first line.
fn instructions(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        // Comments and empty lines are left out between continued lines, too.
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let part = line.strip_suffix('\\');
        let continues = part.is_some();
        let part = part.unwrap_or(line).trim_end();
        let (number, joined) = match open.take() {
            Some((number, before)) => (number, format!("{before} {part}")),
            None => (index + 1, part.to_owned()),
        };
        if continues {
            open = Some((number, joined));
        } else {
            found.push((number, joined));
        }
    }
    found.extend(open);
    found
}

impl Stage {
    fn from(rest: &str) -> Result<Self> {
        let words: Vec<&str> = rest.split_whitespace().collect();
        let (base, name) = match *words.as_slice() {
            [base] => (base, None),
            [base, "AS", name] => (base, Some(name.to_owned())),
            _ => bail!("expected FROM IMAGE, or FROM IMAGE AS NAME"),
        };
        Ok(Self { base: base.to_owned(), name, steps: Vec::new() })
    }
}

impl BuildStep {
    fn parse(keyword: &str, rest: &str) -> Result<Self> {
        let (flags, rest) = flags(rest);
        ensure!(flags.is_empty() || ["RUN", "COPY"].contains(&keyword), "it takes no flags");
        Ok(match keyword {
            "RUN" => {
                ensure!(!rest.starts_with('['), "expected a command for the shell");
                let caches = flags.into_iter().map(cache).collect::<Result<_>>()?;
                Self::Run { caches, command: rest.to_owned() }
            }
            "COPY" => Self::Copy(CopyStep::parse(&flags, rest)?),
            "ENV" => Self::Env(rest.split_whitespace().map(variable).collect::<Result<_>>()?),
            "WORKDIR" => Self::Workdir(absolute(rest)?),
            "USER" => Self::User(Owner::parse(rest)?),
            "VOLUME" => Self::Volume(absolute(rest)?),
            "EXPOSE" => Self::Expose(rest.parse().context("expected a port")?),
            "STOPSIGNAL" => Self::StopSignal(rest.to_owned()),
            "ENTRYPOINT" => {
                Self::Entrypoint(serde_json::from_str(rest).context("expected a list of strings")?)
            }
            _ => bail!("unknown instruction"),
        })
    }
}

/// Returns the flags before the arguments, and the arguments.
fn flags(text: &str) -> (Vec<&str>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (flag, after) = rest.split_once(' ').unwrap_or((rest, ""));
        flags.push(flag);
        rest = after.trim_start();
    }
    (flags, rest)
}

/// Returns the directory of `--mount=type=cache,target=DIRECTORY`.
fn cache(flag: &str) -> Result<String> {
    let target = flag.strip_prefix("--mount=type=cache,target=");
    absolute(target.with_context(|| format!("unknown flag {flag}"))?)
}

fn variable(text: &str) -> Result<(String, String)> {
    ensure!(!text.contains(['"', '\'', '$']), "quotes and variables are not supported");
    let (name, value) = text.split_once('=').context("expected NAME=VALUE")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn absolute(path: &str) -> Result<String> {
    let is_plain = path.starts_with('/') && !path.contains([' ', '"', ',', '$']);
    ensure!(is_plain, "expected one absolute path");
    Ok(path.to_owned())
}

impl CopyStep {
    fn parse(flags: &[&str], rest: &str) -> Result<Self> {
        let (mut from, mut owner) = (None, None);
        for flag in flags {
            if let Some(stage) = flag.strip_prefix("--from=") {
                from = Some(stage.to_owned());
            } else if let Some(numbers) = flag.strip_prefix("--chown=") {
                owner = Some(Owner::parse(numbers)?);
            } else {
                bail!("unknown flag {flag}");
            }
        }
        let words: Vec<&str> = rest.split_whitespace().collect();
        let [source, target] = *words.as_slice() else { bail!("expected a source and a target") };
        Ok(Self { from, owner, source: source.to_owned(), target: target.to_owned() })
    }
}

impl Owner {
    pub(super) const ROOT: Self = Self { user: 0, group: 0 };

    fn parse(text: &str) -> Result<Self> {
        let numbers = "expected USER:GROUP as numbers";
        let (user, group) = text.split_once(':').context(numbers)?;
        Ok(Self { user: user.parse().context(numbers)?, group: group.parse().context(numbers)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Vec<BuildStep> {
        let mut stages = parse(&format!("FROM debian AS one\n{text}\n")).unwrap();
        assert_eq!((stages.len(), stages[0].name.as_deref()), (1, Some("one")));
        stages.remove(0).steps
    }

    #[test]
    fn a_command_over_several_lines_is_one_step() {
        let text = "RUN --mount=type=cache,target=/cache \\\n  # why\n\n    one \\\n    && two";
        let command = "one && two".to_owned();
        assert_eq!(steps(text), [BuildStep::Run { caches: vec!["/cache".to_owned()], command }]);
    }

    #[test]
    fn stages_keep_their_order_and_their_steps() {
        let stages = parse("# Two.\nFROM a AS one\nWORKDIR /one\nFROM b\nEXPOSE 80\n").unwrap();
        let bases: Vec<_> = stages.iter().map(|stage| stage.base.as_str()).collect();
        assert_eq!(bases, ["a", "b"]);
        assert_eq!(stages[1].steps, [BuildStep::Expose(80)]);
    }

    #[test]
    fn a_copy_has_its_stage_and_its_owner() {
        let copy = CopyStep {
            from: Some("build".to_owned()),
            owner: Some(Owner { user: 7, group: 8 }),
            source: "/a".to_owned(),
            target: "/b".to_owned(),
        };
        assert_eq!(steps("COPY --from=build --chown=7:8 /a /b"), [BuildStep::Copy(copy)]);
    }

    #[test]
    fn what_is_not_known_is_refused_with_its_line() {
        for unknown in [
            "ADD a b",
            "HEALTHCHECK CMD true",
            "RUN --network=none true",
            "RUN [\"true\"]",
            "COPY --link a b",
            "COPY a b c",
            "ENV A=\"b c\"",
            "USER gesta",
            "VOLUME [\"/data\"]",
            "ENTRYPOINT gesta serve",
            "WORKDIR source",
            "EXPOSE 80/tcp",
            "USER",
        ] {
            let error = parse(&format!("# One.\nFROM debian\n{unknown}\n")).unwrap_err();
            assert!(format!("{error:#}").starts_with("line 3: "), "{unknown}: {error:#}");
        }
        assert!(parse("WORKDIR /source\n").is_err());
        assert!(parse("# Nothing.\n").is_err());
    }
}
