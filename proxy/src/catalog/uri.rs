//! URIs that say whose they are: `wiregate://SERVER/URI`, the server's own URI behind the name as
//! it is, and `ui://wiregate/SERVER/REST` for `ui://REST`, since hosts of apps look at the scheme.

/// The form in which any server's URI is one of the gateway's.
pub(super) fn of(server: &str, uri: &str) -> String {
    match uri.strip_prefix("ui://") {
        Some(rest) => format!("ui://wiregate/{server}/{rest}"),
        None => format!("wiregate://{server}/{uri}"),
    }
}

/// The server and its own URI, of one in the gateway's form.
pub(super) fn parse(uri: &str) -> Option<(&str, String)> {
    if let Some(rest) = uri.strip_prefix("ui://wiregate/") {
        let (server, rest) = rest.split_once('/')?;
        return Some((server, format!("ui://{rest}")));
    }
    let (server, uri) = uri.strip_prefix("wiregate://")?.split_once('/')?;
    Some((server, uri.to_owned()))
}

/// Whether a server's own URI is never shown as it is: it would look like one of the gateway's, or
/// belongs to an app, whose links are always in the gateway's form.
pub(super) fn is_reserved(uri: &str) -> bool {
    uri.starts_with("ui://") || uri.starts_with("wiregate://")
}

/// Whether a URI is one that a template (RFC 6570) makes, and how much of the template is literal;
/// the more, the better it fits. An expression stands for any text; a plain `{name}` for some text
/// without a slash.
pub(super) fn matches(template: &str, uri: &str) -> Option<usize> {
    let mut parts = Vec::new();
    let mut rest = template;
    while let Some((literal, after)) = rest.split_once('{') {
        let (expression, after) = after.split_once('}')?;
        parts.push((literal, Some(expression)));
        rest = after;
    }
    parts.push((rest, None));
    if parts.len() > MOST_PARTS {
        return None;
    }
    let literal = parts.iter().map(|(literal, _)| literal.len()).sum();
    fits(&parts, uri).then_some(literal)
}

/// Expressions of one template at most.
const MOST_PARTS: usize = 32;

/// Whether `uri` is these literals with something for each expression between them. Every place
/// where a part may begin is tried once: the work is parts times bytes.
fn fits(parts: &[(&str, Option<&str>)], uri: &str) -> bool {
    let bytes = uri.as_bytes();
    let mut starts = vec![false; bytes.len() + 1];
    starts[0] = true;
    for (literal, expression) in parts {
        let mut next = vec![false; bytes.len() + 1];
        for at in (0..=bytes.len()).filter(|at| starts[*at]) {
            if bytes[at..].starts_with(literal.as_bytes()) {
                next[at + literal.len()] = true;
            }
        }
        match expression {
            None => return next[bytes.len()],
            Some(expression) => spread(&mut next, bytes, expression),
        }
        starts = next;
    }
    false
}

/// Moves the places after a literal on to those where its expression may end.
fn spread(places: &mut [bool], bytes: &[u8], expression: &str) {
    let plain = !expression.starts_with(['+', '#', '.', '/', ';', '?', '&']);
    let mut open = false;
    for (at, place) in places.iter_mut().enumerate() {
        let here = *place;
        // A plain expression takes at least one byte, the others may be empty.
        *place = open || (here && !plain);
        open |= here;
        if plain && bytes.get(at) == Some(&b'/') {
            open = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gateways_form_says_whose_it_is_and_gives_back_every_byte() {
        for uri in ["file:///a/b?x#y", "note:1", "ui://app/main.html", "wiregate://b/x", ""] {
            let shown = of("files", uri);
            assert_eq!(parse(&shown), Some(("files", uri.to_owned())), "{shown}");
            assert!(is_reserved(&shown));
        }
        assert!(of("files", "ui://app/x").starts_with("ui://"));
        assert_eq!(parse("file:///a"), None);
        assert_eq!(parse("wiregate://files"), None);
    }

    #[test]
    fn a_template_fits_what_it_makes() {
        assert_eq!(matches("file:///{name}", "file:///a.txt"), Some(8));
        assert_eq!(matches("file:///{name}", "file:///a/b.txt"), None);
        assert_eq!(matches("file:///{name}", "file:///"), None);
        assert_eq!(matches("file:///{+path}", "file:///a/b.txt"), Some(8));
        assert_eq!(matches("db://{a}/{b}/rows{?n}", "db://x/y/rows?n=3"), Some(11));
        assert_eq!(matches("db://{a}/{b}/rows{?n}", "db://x/y/rows"), Some(11));
        assert_eq!(matches("db://{a}/{b}/rows", "db://x/y/z/rows"), None);
        assert_eq!(matches("plain", "plain"), Some(5));
        assert_eq!(matches("{open", "{open"), None);
    }

    #[test]
    fn matching_costs_no_more_than_parts_times_bytes() {
        let template = format!("{}z", "{+a}a".repeat(30));
        assert_eq!(matches(&template, &"a".repeat(20_000)), None);
        assert_eq!(matches(&"{a}".repeat(40), "x"), None);
    }
}
