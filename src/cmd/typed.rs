//! Which arguments were typed: what is wrong with them is the command line's mistake, not a setting's.

use clap::{ArgMatches, Args, Command, FromArgMatches, Id, parser::ValueSource};

/// Arguments, and which of them stand on the command line; the others are a variable's, a file's or left out.
#[derive(Debug)]
pub(crate) struct Typed<T> {
    pub(crate) args: T,
    typed: Vec<Id>,
}

impl<T> Typed<T> {
    /// Whether the argument called `id`, its field's name, was typed.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.typed.iter().any(|typed| typed == id)
    }
}

impl<T: Args> Args for Typed<T> {
    fn augment_args(command: Command) -> Command {
        T::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: FromArgMatches> FromArgMatches for Typed<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            args: T::from_arg_matches(matches)?,
            typed: typed(matches),
        })
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        // Before its values are taken out.
        let typed = typed(matches);
        let args = T::from_arg_matches_mut(matches)?;
        Ok(Self { args, typed })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.typed.extend(typed(matches));
        self.args.update_from_arg_matches(matches)
    }
}

fn typed(matches: &ArgMatches) -> Vec<Id> {
    let is_typed = |id: &&Id| {
        let source = matches.value_source(id.as_str());
        source == Some(ValueSource::CommandLine)
    };
    matches.ids().filter(is_typed).cloned().collect()
}
