//! Where in the protocol a text stands: a tool's description is not a call's argument.

use crate::message::Kind;
use crate::rule::words;
use crate::scan::Direction;

/// Where a text stands. Rules name these in `surfaces`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Surface {
    /// The description or title of a tool.
    ToolDescription,
    /// A tool's input or output schema.
    ToolSchema,
    /// Any other part of a tool's definition.
    ToolDefinition,
    /// Arguments of a call.
    CallArgs,
    /// Text of a tool's result.
    ResultText,
    /// Structured content of a tool's result.
    ResultStructured,
    /// A resource: its listing or its content.
    Resource,
    /// A prompt: its listing or its content.
    Prompt,
    /// A request for, or an answer of, the client's model.
    Sampling,
    /// A question to the user, or the answer.
    Elicitation,
    /// A log message.
    Log,
    /// Anything else.
    Other,
}

words!(Surface {
    ToolDescription = "tool.description",
    ToolSchema = "tool.schema",
    ToolDefinition = "tool.definition",
    CallArgs = "call.args",
    ResultText = "result.text",
    ResultStructured = "result.structured",
    Resource = "resource",
    Prompt = "prompt",
    Sampling = "sampling",
    Elicitation = "elicitation",
    Log = "log",
    Other = "other",
});

impl Surface {
    /// Every surface.
    pub const ALL: [Self; 12] = [
        Self::ToolDescription,
        Self::ToolSchema,
        Self::ToolDefinition,
        Self::CallArgs,
        Self::ResultText,
        Self::ResultStructured,
        Self::Resource,
        Self::Prompt,
        Self::Sampling,
        Self::Elicitation,
        Self::Log,
        Self::Other,
    ];
}

/// The set of (surface, direction) pairs a rule looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SurfaceSet(u32);

impl SurfaceSet {
    /// Everywhere.
    pub const ALL: Self = Self(u32::MAX);

    fn bit(surface: Surface, direction: Direction) -> u32 {
        1 << (2 * (surface as u32) + u32::from(direction == Direction::ToClient))
    }

    /// The pairs that the words of a rule's `surfaces` name; `None` when one names nothing.
    pub(crate) fn from_words(words: &[String]) -> Option<Self> {
        if words.is_empty() {
            return Some(Self::ALL);
        }
        let both = [Direction::ToServer, Direction::ToClient];
        let mut set = 0;
        for word in words {
            let (name, directions) = match word.split_once('@') {
                None => (word.as_str(), both.as_slice()),
                Some((name, "out")) => (name, &both[..1]),
                Some((name, "in")) => (name, &both[1..]),
                Some(_) => return None,
            };
            let named = Surface::ALL.into_iter().filter(|surface| {
                let full = surface.as_str();
                full == name || full.split_once('.').is_some_and(|(head, _)| head == name)
            });
            let bits = named
                .flat_map(|surface| directions.iter().map(move |d| Self::bit(surface, *d)))
                .fold(0, |bits, bit| bits | bit);
            if bits == 0 {
                return None;
            }
            set |= bits;
        }
        Some(Self(set))
    }

    /// Whether the pair is in the set.
    #[must_use]
    pub fn has(self, surface: Surface, direction: Direction) -> bool {
        self.0 & Self::bit(surface, direction) != 0
    }

    /// Whether some pair is in both sets.
    #[must_use]
    pub fn overlaps(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// Whether any surface in this direction is in the set.
    #[must_use]
    pub fn has_direction(self, direction: Direction) -> bool {
        // bits come in pairs: to the server, to the client
        let of_direction = match direction {
            Direction::ToServer => 0x5555_5555,
            Direction::ToClient => 0xAAAA_AAAA_u32,
        };
        self.0 & of_direction != 0
    }
}

/// The surface of the text at `path` (keys and indices from the root) in a message of this kind and direction.
/// `method` is the message's own or, on an answer, its request's.
#[must_use]
pub fn surface_of(
    kind: Kind,
    direction: Direction,
    method: Option<&str>,
    path: &[&str],
) -> Surface {
    let method = method.unwrap_or("");
    match (kind, path) {
        // what a server asks through a result (2026-07-28), and what the client answers in the retry
        (Kind::Response, ["result", "inputRequests", _, rest @ ..])
        | (_, ["params", "inputRequests", _, rest @ ..]) => input_request(rest),
        (Kind::Request, ["params", "inputResponses", ..]) => Surface::Elicitation,
        (Kind::Response, ["result", rest @ ..]) => of_result(direction, method, rest),
        (Kind::Request, ["params", ..])
            if direction == Direction::ToServer && !METHODS.contains(&method) =>
        {
            Surface::CallArgs
        }
        (Kind::Request | Kind::Notification, ["params", rest @ ..]) => {
            match of_params(method, rest) {
                // what a server tells unasked is shown or logged, whatever it calls it
                Surface::Other if direction == Direction::ToClient => Surface::Log,
                surface => surface,
            }
        }
        (Kind::Error, ["error", ..]) => match method {
            "tools/call" => Surface::ResultText,
            "resources/read" => Surface::Resource,
            "prompts/get" => Surface::Prompt,
            // An error's text reaches the model whatever it answers.
            _ if direction == Direction::ToClient => Surface::ResultText,
            _ => Surface::Other,
        },
        _ => Surface::Other,
    }
}

fn input_request(rest: &[&str]) -> Surface {
    // A sampling request carries messages or a system prompt; everything else asks the user.
    match rest {
        ["params", "messages" | "systemPrompt", ..] => Surface::Sampling,
        _ => Surface::Elicitation,
    }
}

fn of_params(method: &str, path: &[&str]) -> Surface {
    match (method, path) {
        ("tools/call", ["arguments", ..]) | ("completion/complete", _) => Surface::CallArgs,
        ("prompts/get", ["arguments", ..]) | ("tasks/update", _) => Surface::CallArgs,
        ("sampling/createMessage", _) => Surface::Sampling,
        ("elicitation/create", _) => Surface::Elicitation,
        ("notifications/message", _) => Surface::Log,
        ("notifications/tasks" | "notifications/tasks/status", ["result", rest @ ..]) => {
            of_tool_result(rest)
        }
        ("resources/read" | "resources/subscribe" | "resources/unsubscribe", ["uri"]) => {
            Surface::CallArgs
        }
        _ => Surface::Other,
    }
}

fn of_result(direction: Direction, method: &str, path: &[&str]) -> Surface {
    match (method, path) {
        ("tools/list", ["tools", _, rest @ ..]) => of_tool(rest),
        ("tools/call" | "tasks/result", rest) => of_tool_result(rest),
        ("tasks/get", ["result", rest @ ..]) => of_tool_result(rest),
        ("tasks/get", ["inputRequests", _, rest @ ..]) => input_request(rest),
        ("resources/read" | "resources/list" | "resources/templates/list", _) => Surface::Resource,
        ("prompts/get" | "prompts/list", _) => Surface::Prompt,
        ("sampling/createMessage", _) => Surface::Sampling,
        ("elicitation/create", _) => Surface::Elicitation,
        // `instructions` go into the model's context just as a tool's description does
        ("initialize" | "server/discover", ["instructions", ..])
            if direction == Direction::ToClient =>
        {
            Surface::ToolDescription
        }
        _ if !METHODS.contains(&method) => of_unasked(direction, path),
        _ => Surface::Other,
    }
}

/// A result of a method that is not known, or whose request is not: judged by what it looks like, since a server chooses
/// both, and a client may take it for the answer it waits for.
fn of_unasked(direction: Direction, path: &[&str]) -> Surface {
    match path {
        _ if direction == Direction::ToServer => Surface::Elicitation,
        ["tools", _, rest @ ..] => of_tool(rest),
        ["contents" | "resources" | "resourceTemplates", ..] => Surface::Resource,
        ["messages" | "prompts", ..] => Surface::Prompt,
        ["instructions", ..] => Surface::ToolDescription,
        rest => of_tool_result(rest),
    }
}

/// The requests whose form the specification gives, over all revisions and the tasks extension.
pub const METHODS: [&str; 23] = [
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setLevel",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

fn of_tool(path: &[&str]) -> Surface {
    match path {
        ["description" | "title", ..] | ["annotations", "title", ..] => Surface::ToolDescription,
        ["inputSchema" | "outputSchema", ..] => Surface::ToolSchema,
        _ => Surface::ToolDefinition,
    }
}

fn of_tool_result(path: &[&str]) -> Surface {
    match path {
        ["content", ..] => Surface::ResultText,
        ["structuredContent", ..] => Surface::ResultStructured,
        _ => Surface::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::{Surface, SurfaceSet, surface_of};
    use crate::message::Kind;
    use crate::scan::Direction::{self, ToClient, ToServer};

    fn at(kind: Kind, direction: Direction, method: &str, path: &str) -> &'static str {
        let words: Vec<&str> = path.split('/').skip(1).collect();
        surface_of(kind, direction, Some(method), &words).as_str()
    }

    #[test]
    fn every_place_has_its_surface() {
        let result = |method, path| at(Kind::Response, ToClient, method, path);
        let params = |method, path| at(Kind::Request, ToServer, method, path);
        for (told, expected) in [
            (result("tools/list", "/result/tools/3/description"), "tool.description"),
            (result("tools/list", "/result/tools/3/title"), "tool.description"),
            (
                result("tools/list", "/result/tools/3/inputSchema/properties/a/description"),
                "tool.schema",
            ),
            (result("tools/list", "/result/tools/3/name"), "tool.definition"),
            (result("tools/list", "/result/nextCursor"), "other"),
            (params("tools/call", "/params/arguments/a/0"), "call.args"),
            (params("tools/call", "/params/name"), "other"),
            (result("tools/call", "/result/content/0/text"), "result.text"),
            (result("tools/call", "/result/structuredContent/a"), "result.structured"),
            (result("tools/call", "/result/inputRequests/k/params/message"), "elicitation"),
            (
                result("tools/call", "/result/inputRequests/k/params/messages/0/content/text"),
                "sampling",
            ),
            (params("tools/call", "/params/inputResponses/k/content/a"), "elicitation"),
            (result("resources/read", "/result/contents/0/text"), "resource"),
            (result("prompts/get", "/result/messages/0/content/text"), "prompt"),
            (
                at(
                    Kind::Request,
                    ToClient,
                    "sampling/createMessage",
                    "/params/messages/0/content/text",
                ),
                "sampling",
            ),
            (
                at(Kind::Response, ToServer, "sampling/createMessage", "/result/content/text"),
                "sampling",
            ),
            (at(Kind::Request, ToClient, "elicitation/create", "/params/message"), "elicitation"),
            (at(Kind::Notification, ToClient, "notifications/message", "/params/data"), "log"),
            (at(Kind::Notification, ToClient, "notifications/progress", "/params/message"), "log"),
            (at(Kind::Notification, ToClient, "x/unheard", "/params/a"), "log"),
            (at(Kind::Notification, ToServer, "x/unheard", "/params/a"), "other"),
            (result("initialize", "/result/instructions"), "tool.description"),
            (at(Kind::Error, ToClient, "tools/call", "/error/message"), "result.text"),
            (at(Kind::Error, ToClient, "ping", "/error/message"), "result.text"),
            (result("", "/result/x"), "other"),
            (result("", "/result/tools/0/description"), "tool.description"),
            (result("", "/result/content/0/text"), "result.text"),
            (result("x/unheard", "/result/contents/0/text"), "resource"),
            (at(Kind::Response, ToServer, "", "/result/content/a"), "elicitation"),
            (params("x/unheard", "/params/a"), "call.args"),
        ] {
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn words_name_sets() {
        let set = |words: &[&str]| {
            SurfaceSet::from_words(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())
        };
        let tools = set(&["tool@in", "call.args@out"]).unwrap();
        assert!(
            tools.has(Surface::ToolSchema, ToClient) && !tools.has(Surface::ToolSchema, ToServer)
        );
        assert!(
            tools.has(Surface::CallArgs, ToServer) && !tools.has(Surface::ResultText, ToClient)
        );
        assert!(set(&[]).unwrap().has(Surface::Other, ToClient));
        assert_eq!(set(&["tools"]), None);
        assert_eq!(set(&["tool@up"]), None);
        assert!(!set(&["log"]).unwrap().overlaps(tools));
    }
}
