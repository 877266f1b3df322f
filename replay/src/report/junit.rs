//! JUnit XML, as CI systems read it: suites of cases, a failure inside a case that fails.

use std::fmt::Write as _;

/// Cases under one name.
#[derive(Clone, Debug)]
pub(crate) struct Suite {
    pub(crate) name: String,
    pub(crate) cases: Vec<Case>,
}

/// One test; it passes when it has no failures.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// One line each.
    pub(crate) failures: Vec<String>,
}

/// The document.
pub(crate) fn xml(suites: &[Suite]) -> String {
    let tests: usize = suites.iter().map(|suite| suite.cases.len()).sum();
    let failures: usize = suites.iter().map(Suite::failed).sum();
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    // writing to a String cannot fail, here and below
    let _ = writeln!(
        out,
        "<testsuites name=\"wiregate-replay test rules\" tests=\"{tests}\" failures=\"{failures}\">"
    );
    for suite in suites {
        let (name, count, failed) = (escaped(&suite.name), suite.cases.len(), suite.failed());
        let _ = writeln!(
            out,
            "  <testsuite name=\"{name}\" tests=\"{count}\" failures=\"{failed}\" errors=\"0\" skipped=\"0\">"
        );
        for case in &suite.cases {
            let _ =
                write!(out, "    <testcase classname=\"{name}\" name=\"{}\"", escaped(&case.name));
            let Some(first) = case.failures.first() else {
                out.push_str("/>\n");
                continue;
            };
            let all: Vec<String> = case.failures.iter().map(|line| escaped(line)).collect();
            let _ = writeln!(
                out,
                ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                escaped(first),
                all.join("\n")
            );
        }
        out.push_str("  </testsuite>\n");
    }
    out.push_str("</testsuites>\n");
    out
}

impl Suite {
    fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.failures.is_empty()).count()
    }
}

/// Text for an element or an attribute. What XML has no place for is made visible first.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in ::scan::text::visible(text).chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            // no XML has these, whatever their escape
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{Case, Suite, xml};

    #[test]
    fn any_text_makes_a_document_that_reads_back() {
        let hostile = "a<b> & \"c\" ]]> \u{0}\u{1b}\u{fffe} end";
        let fails = Case { name: hostile.to_owned(), failures: vec![hostile.to_owned(); 2] };
        let passes = Case { name: "fine".to_owned(), failures: Vec::new() };
        let suite = Suite { name: hostile.to_owned(), cases: vec![fails, passes] };
        let text = xml(&[suite]);
        let document = roxmltree::Document::parse(&text).unwrap();
        let root = document.root_element();
        assert_eq!(root.tag_name().name(), "testsuites");
        assert_eq!((root.attribute("tests"), root.attribute("failures")), (Some("2"), Some("1")));
        let failures: Vec<_> = root.descendants().filter(|n| n.has_tag_name("failure")).collect();
        assert_eq!(failures.len(), 1);
        let seen = ::scan::text::visible(hostile).replace('\u{fffe}', "\u{fffd}");
        assert_eq!(failures[0].attribute("message"), Some(&*seen));
        assert_eq!(failures[0].text().unwrap().lines().count(), 2);
    }
}
