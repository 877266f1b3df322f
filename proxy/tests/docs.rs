//! The pages under `docs/` that are generated are what the source generates, and every example
//! configuration there is one. `WIREGATE_BLESS=1` rewrites the pages.

use std::fs;
use std::path::{Path, PathBuf};

use proxy::cli::reference;
use proxy::config::{Config, Use, Written};
use proxy::snapshot::Snapshot;

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")
}

#[test]
fn generated_pages_are_fresh() {
    let pages = [
        ("cli.md", reference::cli()),
        ("config.md", reference::config()),
        ("config.schema.json", reference::schema()),
        ("metrics.md", reference::metrics()),
    ];
    let bless = std::env::var_os("WIREGATE_BLESS").is_some();
    let mut stale = Vec::new();
    for (name, fresh) in pages {
        let path = docs().join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == fresh) {
            continue;
        }
        if bless {
            fs::write(&path, fresh).unwrap();
        } else {
            stale.push(name);
        }
    }
    assert!(stale.is_empty(), "run this test with WIREGATE_BLESS=1 to rewrite {stale:?}");
}

#[test]
fn every_example_is_a_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let pair = rcgen::generate_simple_self_signed(["mcp.example.com".to_owned()]).unwrap();
    fs::create_dir(folder.path().join("tls")).unwrap();
    fs::write(folder.path().join("tls/cert.pem"), pair.cert.pem()).unwrap();
    fs::write(folder.path().join("tls/key.pem"), pair.signing_key.serialize_pem()).unwrap();
    let env = |name: &str| match name {
        "HOME" => Some("/home/someone".to_owned()),
        "GITHUB_TOKEN" => Some(["example", "token"].concat()),
        _ => None,
    };
    let mut count = 0;
    for entry in fs::read_dir(docs().join("examples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        // Beside the certificate that one of them names.
        let place = folder.path().join(&name);
        let text = fs::read_to_string(&path).unwrap();
        let config = Config::from_yaml(place.to_str().unwrap(), &text, &env)
            .unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        Snapshot::build(config).unwrap_or_else(|errors| panic!("{name}: {errors:?}"));
        count += 1;
    }
    assert_eq!(count, 4);
}

#[test]
fn the_defaults_lack_nothing_but_a_server() {
    let env = |name: &str| (name == "HOME").then(|| "/home/someone".to_owned());
    let errors = Written::defaults().finish(Use::Serve, &env).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert_eq!(errors.first().unwrap().path, "/servers");
    assert!(Written::defaults().finish(Use::Wrap, &env).is_ok());
}
