//! The table of all functions, filters and tests of the template language.
//!
//! A name that is not in the table does not exist, even if the engine has it: `name_check` refuses it when the text is
//! compiled. The files of `functions/` have our own functions, and limits for those of the engine.
//!
//! To add one, write it in a file of `functions/`, add its row here, and document it in `docs/src/templates.md`.

mod lists;
mod bounded;
mod encoding;
mod network;
pub(super) mod once;
mod text;
mod quoting;
mod patterns;
pub(super) mod values;

use minijinja::{Environment, Value, filters, functions};

use self::{
    BuiltinKind::{
        FileFunction, Filter, Function, FunctionAndFilter, OnceFunction, OperatorTest, Test,
        ValueFunction,
    },
    bounded::{
        add_bounded, add_text, check_assigned_text, check_assigned_value, check_sum, concat,
    },
    lists::{AttributeArgument, add_filter, add_function, add_strict},
};

/// One function, filter or test of the template language.
#[derive(Debug, Clone, Copy)]
pub struct Builtin {
    /// The name that templates use.
    pub name: &'static str,
    /// How the name is used, and where it exists.
    pub kind: BuiltinKind,
    /// One sentence that says what it does.
    pub doc: &'static str,
    /// Adds it to the environment. `None` if the engine or the variables of an evaluation already provide it.
    register: Option<Register>,
}

/// How a name of the template language is used, and where it exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BuiltinKind {
    /// A filter, used as `VALUE | name(ARGUMENTS)`.
    Filter,
    /// A function, called as `name(ARGUMENTS)`.
    Function,
    /// A function whose first argument can also be on the left of `|`.
    FunctionAndFilter,
    /// A function that exists only in file templates.
    FileFunction,
    /// A function that exists only in `once`.
    OnceFunction,
    /// A function that reads operators' values. It exists everywhere except in `once`.
    ValueFunction,
    /// A test, used as `VALUE is name(ARGUMENTS)`.
    Test,
    /// An operator such as `==`, as an argument of `select` and its relatives.
    OperatorTest,
}

type Register = fn(&mut Environment<'static>, &'static str);

/// A row for a filter, function or test that is our own, or the engine's with a check of our own.
const fn own(
    name: &'static str,
    kind: BuiltinKind,
    doc: &'static str,
    register: Register,
) -> Builtin {
    Builtin {
        name,
        kind,
        doc,
        register: Some(register),
    }
}

/// A row for a name that needs no registration: the engine has it, or the variables of an evaluation (`fragment`, the
/// functions of `once`, and those that read values).
const fn existing(name: &'static str, kind: BuiltinKind, doc: &'static str) -> Builtin {
    Builtin {
        name,
        kind,
        doc,
        register: None,
    }
}

/// All functions, filters and tests.
#[rustfmt::skip] // One row on a line is easier to read.
pub static BUILTINS: &[Builtin] = &[
    // functions/network.rs
    own("hostport", FunctionAndFilter, "Joins an address or host name and a port.", |environment, name| {
        environment.add_filter(name, network::hostport);
        environment.add_function(name, network::hostport);
    }),
    own("cidr_host", FunctionAndFilter, "Returns an address of a network by its number.", |environment, name| {
        add_filter(environment, name, Value::from_function(network::cidr_host));
        add_function(environment, name, Value::from_function(network::cidr_host));
    }),
    own("ordinal", FunctionAndFilter, "Returns the number at the end of a name.", |environment, name| {
        add_filter(environment, name, Value::from_function(network::ordinal));
        add_function(environment, name, Value::from_function(network::ordinal));
    }),

    // fragment.rs
    existing("fragment", FileFunction, "Returns the text of a fragment."),

    // functions/values.rs
    existing("value", ValueFunction, "Returns an operator's value."),
    existing("values_under", ValueFunction, "Returns the operators' values whose keys begin with a prefix."),

    // functions/once.rs
    existing("random_hex", OnceFunction, "Returns random bytes as hexadecimal digits."),
    existing("random_base64url", OnceFunction, "Returns random bytes as base64url without padding."),
    existing("now", OnceFunction, "Returns the time in UTC, to the second."),

    // The engine's functions.
    own("range", Function, "Returns a list of integers.", |e, name| {
        add_function(e, name, Value::from_function(functions::range));
    }),
    existing("dict", Function, "Returns an object of its named arguments."),
    existing("namespace", Function, "Returns an object whose fields can be set, also in a loop."),

    // functions/encoding.rs
    own("tojson", Filter, "Prints a value as JSON.", |e, name| e.add_filter(name, encoding::tojson)),
    own("toyaml", Filter, "Prints a value as block YAML.", |e, name| e.add_filter(name, encoding::toyaml)),
    own("b64encode", Filter, "Encodes a string as base64.", |e, name| e.add_filter(name, encoding::b64encode)),
    own("b64decode", Filter, "Decodes base64 to a string, or to bytes.", |e, name| e.add_filter(name, encoding::b64decode)),
    own("sha256", Filter, "Returns the SHA-256 checksum of a string or of bytes.", |e, name| e.add_filter(name, encoding::sha256)),
    own("hex", Filter, "Returns a string or bytes as hexadecimal digits.", |e, name| e.add_filter(name, encoding::hex)),
    own("fromjson", Filter, "Reads JSON.", |e, name| e.add_filter(name, encoding::fromjson)),
    own("fromyaml", Filter, "Reads YAML.", |e, name| e.add_filter(name, encoding::fromyaml)),
    own("uuid5", Function, "Returns the UUID (version 5) of a name.", |e, name| {
        add_function(e, name, Value::from_function(encoding::uuid5));
    }),
    own("escape", Filter, "Escapes a string for HTML and XML.", |e, name| {
        add_text(e, name, Value::from_function(filters::escape), None);
    }),
    own("e", Filter, "Short name of `escape`.", |e, name| {
        add_text(e, name, Value::from_function(filters::escape), None);
    }),
    own("safe", Filter, "Marks a string as already escaped.", |e, name| {
        add_text(e, name, Value::from_function(filters::safe), None);
    }),

    // functions/quoting.rs
    own("shellquote", Filter, "Writes a value as one word of a shell.", |e, name| e.add_filter(name, quoting::shellquote)),
    own("dotenv", Filter, "Writes the lines of a dotenv file.", |e, name| e.add_filter(name, quoting::dotenv)),
    own("urlencode", Filter, "Encodes a text for a URL, or an object as a query.", |e, name| e.add_filter(name, quoting::urlencode)),

    // functions/patterns.rs
    own("regex_match", Filter, "Tests whether a regular expression matches.", |e, name| e.add_filter(name, patterns::regex_match)),
    own("regex_replace", Filter, "Replaces the matches of a regular expression.", |e, name| e.add_filter(name, patterns::regex_replace)),

    // functions/text.rs
    own("center", Filter, "Pads a string on both sides.", |e, name| {
        add_filter(e, name, Value::from_function(text::center));
    }),
    own("truncate", Filter, "Shortens a string.", |e, name| {
        add_filter(e, name, Value::from_function(text::truncate));
    }),
    own("string", Filter, "Converts a value to a string, as it is printed.", |e, name| e.add_filter(name, text::string)),
    own("join", Filter, "Joins the items of a list to a string.", |e, name| {
        add_filter(e, name, Value::from_function(text::join));
    }),

    // The engine's filters for strings, and for numbers.
    own("capitalize", Filter, "Changes the first letter to upper case and the others to lower case.", |e, name| {
        add_text(e, name, Value::from_function(filters::capitalize), None);
    }),
    own("title", Filter, "Changes the first letter of each word to upper case.", |e, name| {
        add_text(e, name, Value::from_function(filters::title), None);
    }),
    own("lower", Filter, "Changes all letters to lower case.", |e, name| {
        add_text(e, name, Value::from_function(filters::lower), None);
    }),
    own("upper", Filter, "Changes all letters to upper case.", |e, name| {
        add_text(e, name, Value::from_function(filters::upper), None);
    }),
    own("trim", Filter, "Removes white space, or other characters, from both ends.", |e, name| {
        add_text(e, name, Value::from_function(filters::trim), None);
    }),
    own("split", Filter, "Splits a string at a separator.", |e, name| {
        add_text(e, name, Value::from_function(filters::split), None);
    }),
    own("lines", Filter, "Splits a string into its lines.", |e, name| {
        add_text(e, name, Value::from_function(filters::lines), None);
    }),
    existing("abs", Filter, "Returns the absolute value of a number."),
    existing("round", Filter, "Rounds a number."),
    existing("int", Filter, "Converts a value to an integer."),
    existing("float", Filter, "Converts a value to a floating-point number."),
    existing("bool", Filter, "Converts a value to a boolean."),

    // functions/bounded.rs
    own("replace", Filter, "Replaces a text within a string.", |e, name| {
        add_text(e, name, Value::from_function(filters::replace), Some(bounded::check_replace));
    }),
    own("indent", Filter, "Indents the lines of a string.", |e, name| {
        add_text(e, name, Value::from_function(filters::indent), Some(bounded::check_indent));
    }),
    own("format", Filter, "Fills the fields of a printf format.", |e, name| {
        add_bounded(e, name, Value::from_function(filters::format), bounded::check_format);
    }),
    own("list", Filter, "Converts a value to a list, or a string to its characters.", |e, name| {
        add_bounded(e, name, Value::from_function(filters::list), bounded::check_list_text);
    }),
    own("batch", Filter, "Divides a list into lists of a given length.", |e, name| {
        add_bounded(e, name, Value::from_function(filters::batch), bounded::check_parts);
    }),
    own("slice", Filter, "Divides a list into a given number of lists.", |e, name| {
        add_bounded(e, name, Value::from_function(filters::slice), bounded::check_parts);
    }),

    // The engine's filters for lists and objects.
    existing("length", Filter, "Returns the number of items or characters."),
    existing("count", Filter, "Another name of `length`."),
    existing("first", Filter, "Returns the first item."),
    existing("last", Filter, "Returns the last item."),
    existing("reverse", Filter, "Reverses a list or string."),
    existing("chain", Filter, "Appends lists, or merges objects."),
    existing("zip", Filter, "Combines the items of lists by their index."),
    existing("items", Filter, "Returns the entries of an object as pairs of key and value."),
    existing("dictsort", Filter, "Returns the entries of an object, sorted."),
    existing("attr", Filter, "Returns an attribute by its name."),
    existing("default", Filter, "Replaces an undefined value."),
    existing("d", Filter, "Short name of `default`."),

    // functions/lists.rs
    own("map", Filter, "Returns an attribute of each item, or applies a filter to each.", |e, name| {
        add_strict(e, name, Value::from_function(filters::map), AttributeArgument::Keyword);
    }),
    own("select", Filter, "Selects the items that pass a test.", |e, name| {
        add_strict(e, name, Value::from_function(filters::select), AttributeArgument::None);
    }),
    own("reject", Filter, "Selects the items that do not pass a test.", |e, name| {
        add_strict(e, name, Value::from_function(filters::reject), AttributeArgument::None);
    }),
    own("selectattr", Filter, "Selects the items of which an attribute passes a test.", |e, name| {
        add_strict(e, name, Value::from_function(filters::selectattr), AttributeArgument::First);
    }),
    own("rejectattr", Filter, "Selects the items of which an attribute does not pass a test.", |e, name| {
        add_strict(e, name, Value::from_function(filters::rejectattr), AttributeArgument::First);
    }),
    own("groupby", Filter, "Groups items by an attribute.", |e, name| {
        add_strict(e, name, Value::from_function(filters::groupby), AttributeArgument::FirstOrKeyword);
    }),
    own("sort", Filter, "Sorts items.", |e, name| {
        add_strict(e, name, Value::from_function(filters::sort), AttributeArgument::KeywordList);
    }),
    own("unique", Filter, "Removes repeated items.", |e, name| {
        add_strict(e, name, Value::from_function(filters::unique), AttributeArgument::Keyword);
    }),
    own("min", Filter, "Returns the smallest item.", |e, name| {
        add_strict(e, name, Value::from_function(filters::min), AttributeArgument::Keyword);
    }),
    own("max", Filter, "Returns the largest item.", |e, name| {
        add_strict(e, name, Value::from_function(filters::max), AttributeArgument::Keyword);
    }),
    own("sum", Filter, "Adds the items.", |e, name| {
        add_strict(e, name, Value::from_function(filters::sum), AttributeArgument::FirstOrKeyword);
    }),

    // The engine's tests.
    existing("defined", Test, "Tests whether a value is defined."),
    existing("undefined", Test, "Tests whether a value is undefined."),
    existing("none", Test, "Tests for `none`."),
    existing("true", Test, "Tests for `true`."),
    existing("false", Test, "Tests for `false`."),
    existing("boolean", Test, "Tests for a boolean."),
    existing("number", Test, "Tests for a number."),
    existing("integer", Test, "Tests for an integer."),
    existing("int", Test, "Short name of `integer`."),
    existing("float", Test, "Tests for a floating-point number."),
    existing("string", Test, "Tests for a string."),
    existing("sequence", Test, "Tests for a list."),
    existing("mapping", Test, "Tests for an object."),
    existing("iterable", Test, "Tests whether a loop can run over a value."),
    existing("odd", Test, "Tests for an odd number."),
    existing("even", Test, "Tests for an even number."),
    existing("divisibleby", Test, "Tests whether a number is divisible by another."),
    existing("eq", Test, "Tests whether two values are equal."),
    existing("equalto", Test, "Another name of `eq`."),
    existing("ne", Test, "Tests whether two values differ."),
    existing("sameas", Test, "Tests whether two values are the same."),
    existing("lt", Test, "Tests whether a value is less than another."),
    existing("lessthan", Test, "Another name of `lt`."),
    existing("le", Test, "Tests whether a value is less than another or equal to it."),
    existing("gt", Test, "Tests whether a value is greater than another."),
    existing("greaterthan", Test, "Another name of `gt`."),
    existing("ge", Test, "Tests whether a value is greater than another or equal to it."),
    existing("in", Test, "Tests whether a list or string contains a value."),
    existing("startingwith", Test, "Tests how a string starts."),
    existing("endingwith", Test, "Tests how a string ends."),
    existing("lower", Test, "Tests whether a string is in lower case."),
    existing("upper", Test, "Tests whether a string is in upper case."),
    existing("safe", Test, "Tests whether a string is marked as escaped."),
    existing("escaped", Test, "Another name of `safe`."),
    existing("filter", Test, "Tests whether a filter with this name exists."),
    existing("test", Test, "Tests whether a test with this name exists."),
    existing("==", OperatorTest, "Tests whether two values are equal."),
    existing("!=", OperatorTest, "Tests whether two values differ."),
    existing("<", OperatorTest, "Tests whether a value is less than another."),
    existing("<=", OperatorTest, "Tests whether a value is less than another or equal to it."),
    existing(">", OperatorTest, "Tests whether a value is greater than another."),
    existing(">=", OperatorTest, "Tests whether a value is greater than another or equal to it."),
];

/// The filter that checks a value which `set` keeps in a variable. No template can use it, because it has no row.
pub(super) const ASSIGNED_TEXT_FILTER: &str = "cfgsync_text";

/// The filter that checks a value which `set` keeps in a namespace. No template can use it, because it has no row.
pub(super) const ASSIGNED_VALUE_FILTER: &str = "cfgsync_value";

/// The filter that replaces the operator `~`. No template can use it, because it has no row.
pub(super) const CONCAT_FILTER: &str = "cfgsync_concat";

/// The filter that checks the result of `+`. No template can use it, because it has no row.
pub(super) const SUM_FILTER: &str = "cfgsync_sum";

/// Adds all functions, filters and tests that the engine does not have.
pub(super) fn register(environment: &mut Environment<'static>) {
    environment.add_filter(ASSIGNED_TEXT_FILTER, check_assigned_text);
    environment.add_filter(ASSIGNED_VALUE_FILTER, check_assigned_value);
    environment.add_filter(CONCAT_FILTER, concat);
    environment.add_filter(SUM_FILTER, check_sum);
    for builtin in BUILTINS {
        if let Some(register) = builtin.register {
            register(environment, builtin.name);
        }
    }
}

/// Returns the names of all builtins of these kinds, sorted.
pub(super) fn names_of(kinds: &[BuiltinKind]) -> Vec<&'static str> {
    let mut names: Vec<&str> = BUILTINS
        .iter()
        .filter(|builtin| kinds.contains(&builtin.kind))
        .map(|builtin| builtin.name)
        .collect();
    names.sort_unstable();
    names
}

/// Returns whether a builtin of one of these kinds has this name.
pub(super) fn exists(name: &str, kinds: &[BuiltinKind]) -> bool {
    BUILTINS
        .iter()
        .any(|builtin| builtin.name == name && kinds.contains(&builtin.kind))
}
