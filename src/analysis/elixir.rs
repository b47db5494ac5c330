//! Elixir's exceptions in Elixir's words, where those are cheap.

use crate::etf::TermRef;

/// `** (Module) message` for an exception of Elixir's; `None` for any other term, and for exceptions whose message only
/// their own code can make. `print` makes text of a term.
pub(super) fn exception(
    term: TermRef<'_>,
    print: &impl Fn(TermRef<'_>) -> String,
) -> Option<String> {
    if !term.map_get("__exception__")?.is_atom("true") {
        return None;
    }
    let module = term.map_get("__struct__")?.as_atom()?.to_str();
    let name = module.strip_prefix("Elixir.").unwrap_or(&module);
    let field = |key| term.map_get(key).filter(|value| !value.is_atom("nil"));
    let message = match field("message").and_then(TermRef::as_binary) {
        Some(message) => String::from_utf8_lossy(message).into_owned(),
        None => match name {
            "MatchError" => format!("no match of right hand side value: {}", print(field("term")?)),
            "CaseClauseError" => format!("no case clause matching: {}", print(field("term")?)),
            "WithClauseError" => format!("no with clause matching: {}", print(field("term")?)),
            "TryClauseError" => format!("no try clause matching: {}", print(field("term")?)),
            "BadMapError" => format!("expected a map, got: {}", print(field("term")?)),
            "ArithmeticError" => "bad argument in arithmetic expression".to_owned(),
            "UndefinedFunctionError" => format!("function {} is undefined", function(term)?),
            "FunctionClauseError" => format!("no function clause matching in {}", function(term)?),
            "ErlangError" => format!("Erlang error: {}", print(field("original")?)),
            _ => return None,
        },
    };
    Some(format!("** ({name}) {message}"))
}

/// `Module.function/arity` of an exception that has them.
fn function(exception: TermRef<'_>) -> Option<String> {
    let module = exception.map_get("module")?.as_atom()?.to_str();
    let name = exception.map_get("function")?.as_atom()?.to_str();
    let arity = exception.map_get("arity")?.as_integer()?;
    Some(match module.strip_prefix("Elixir.") {
        Some(module) => format!("{module}.{name}/{arity}"),
        None => format!(":{module}.{name}/{arity}"),
    })
}
