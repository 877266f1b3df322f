//! Values that only their maker understands: ids, tokens, cursors, media. Changing one breaks the call, so findings in
//! them are not reported. Only protocol positions count: a call argument named `cursor` is scanned like any other.

use crate::message::{Scalar, member};
use simd_json::Node;

/// Whether the value at this path is opaque. `parent` is the container it is directly in; `media` remembers what was said
/// of the container asked last, which may have many members.
pub(super) fn is_opaque(
    path: &[&str],
    nodes: &[Node<'_>],
    parent: Option<usize>,
    media: &mut Option<(usize, bool)>,
) -> bool {
    match path {
        ["jsonrpc" | "id" | "method"]
        | [
            "params",
            "progressToken" | "cursor" | "requestState" | "taskId" | "protocolVersion"
            | "requestId",
        ]
        | ["result", "nextCursor" | "requestState" | "taskId" | "protocolVersion"]
        | ["result", "task", "taskId"]
        | ["result", "tasks", _, "taskId"]
        | ["result", "supportedVersions", _]
        | ["params", "_meta", "progressToken" | "io.modelcontextprotocol/protocolVersion"]
        | ["params" | "result", "_meta", "io.modelcontextprotocol/related-task", "taskId"] => true,
        [before @ .., "blob"] => is_content(before),
        [before @ .., "data"] if is_content(before) => {
            let Some(parent) = parent else { return false };
            if let Some((asked, is)) = *media
                && asked == parent
            {
                return is;
            }
            let kind = member(nodes, parent, "type").and_then(|at| nodes.get(at)).map(Scalar::of);
            let is = matches!(kind, Some(Scalar::Str("image" | "audio")));
            *media = Some((parent, is));
            is
        }
        _ => false,
    }
}

/// Whether a path leads to a content block, a resource or a listed item.
fn is_content(path: &[&str]) -> bool {
    match path {
        ["result", "result", rest @ ..] => is_content_of(rest),
        ["result" | "params", rest @ ..] => is_content_of(rest),
        _ => false,
    }
}

fn is_content_of(path: &[&str]) -> bool {
    matches!(
        path,
        ["content"]
            | ["content", _]
            | ["content", _, "resource"]
            | ["contents" | "resources" | "resourceTemplates", _]
            | ["messages", _, "content"]
            | ["messages", _, "content", _]
            | ["messages", _, "content", _, "resource"]
    )
}
