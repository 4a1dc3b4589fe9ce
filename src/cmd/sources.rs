//! Tells arguments that stand on the command line from those that a variable, a settings file or a default set.
//!
//! The difference decides the exit code: a mistake on the command line is 2, a mistake in a setting is 78.

use clap::{ArgMatches, Args, Command, FromArgMatches, Id, parser::ValueSource};

/// Arguments, and the ids of those that stand on the command line.
#[derive(Debug)]
pub(crate) struct WithSources<T> {
    pub(crate) args: T,
    on_command_line: Vec<Id>,
}

impl<T> WithSources<T> {
    /// Whether the argument with this id, which is the name of its field, stands on the command line.
    pub(crate) fn is_on_command_line(&self, id: &str) -> bool {
        self.on_command_line.iter().any(|given| given == id)
    }
}

impl<T: Args> Args for WithSources<T> {
    fn augment_args(command: Command) -> Command {
        T::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        T::augment_args_for_update(command)
    }
}

impl<T: FromArgMatches> FromArgMatches for WithSources<T> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self {
            args: T::from_arg_matches(matches)?,
            on_command_line: on_command_line(matches),
        })
    }

    fn from_arg_matches_mut(matches: &mut ArgMatches) -> Result<Self, clap::Error> {
        // `from_arg_matches_mut` takes the values out of `matches`, so the sources are read first.
        let on_command_line = on_command_line(matches);
        let args = T::from_arg_matches_mut(matches)?;
        Ok(Self {
            args,
            on_command_line,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.on_command_line.extend(on_command_line(matches));
        self.args.update_from_arg_matches(matches)
    }
}

fn on_command_line(matches: &ArgMatches) -> Vec<Id> {
    let is_given = |id: &&Id| {
        let source = matches.value_source(id.as_str());
        source == Some(ValueSource::CommandLine)
    };
    matches.ids().filter(is_given).cloned().collect()
}
