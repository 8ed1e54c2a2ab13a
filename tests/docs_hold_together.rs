//! The documentation: every link and anchor leads somewhere, the book lists every page, what a page quotes stands in the
//! file that it names, and tables of numbers are those of the daemon.

mod support;

use donet::reason::Reason;
use donet::wire::MessageType;
use pulldown_cmark::{Event, HeadingLevel, Options, Parser, Tag, TagEnd};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write as _;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn is_left_out(name: &str) -> bool {
    name.starts_with('.') || ["target", "node_modules", "data"].contains(&name)
}

fn pages_below(folder: &Path, pages: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a readable folder") {
        let path = entry.expect("an entry").path();
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name in UTF-8");
        if is_left_out(name) {
            continue;
        }
        if path.is_dir() {
            pages_below(&path, pages);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            pages.push(path);
        }
    }
}

fn pages(folder: &str) -> Vec<PathBuf> {
    let mut pages = Vec::new();
    pages_below(&Path::new(ROOT).join(folder), &mut pages);
    pages.sort();
    pages
}

fn docs() -> PathBuf {
    Path::new(ROOT).join("docs")
}

fn text(page: &Path) -> String {
    fs::read_to_string(page).unwrap_or_else(|error| panic!("{}: {error}", page.display()))
}

/// What code hosts and mdBook call a heading with this text.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().chars().filter_map(|letter| match letter {
        ' ' => Some('-'),
        '-' | '_' => Some(letter),
        letter if letter.is_alphanumeric() => Some(letter),
        _ => None,
    });
    kept.flat_map(char::to_lowercase).collect()
}

#[derive(Default)]
struct Page {
    anchors: BTreeSet<String>,
    /// Of links and pictures.
    targets: Vec<String>,
}

fn read(markdown: &str) -> Page {
    let mut page = Page::default();
    let mut heading: Option<String> = None;
    let mut times: HashMap<String, usize> = HashMap::new();
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::Text(text) | Event::Code(text) => {
                if let Some(heading) = &mut heading {
                    heading.push_str(&text);
                }
            }
            Event::End(TagEnd::Heading(HeadingLevel::H1 | HeadingLevel::H2 | HeadingLevel::H3 | HeadingLevel::H4)) => {
                let name = anchor(&heading.take().expect("it has begun"));
                let before = times.entry(name.clone()).or_default();
                page.anchors.insert(if *before == 0 { name.clone() } else { format!("{name}-{before}") });
                *before += 1;
            }
            Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
                page.targets.push(dest_url.into_string());
            }
            _ => {}
        }
    }
    page
}

/// Without `.` and `..`, and without a look at the disk.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

/// Where a target leads that is no address elsewhere: a file, and an anchor in it.
fn destination<'a>(page: &Path, target: &'a str) -> Option<(PathBuf, Option<&'a str>)> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let file =
        if file.is_empty() { page.to_owned() } else { normal(&page.parent().expect("it is in a folder").join(file)) };
    Some((file, anchor))
}

/// What is wrong with the links of these pages.
fn broken(pages: &[PathBuf]) -> Vec<String> {
    let mut wrong = Vec::new();
    for page in pages {
        for target in read(&text(page)).targets {
            let Some((file, anchor)) = destination(page, &target) else { continue };
            let place = page.strip_prefix(ROOT).unwrap_or(page).display();
            if !file.exists() {
                wrong.push(format!("{place}: {target}: there is no such file"));
            } else if page.starts_with(docs()) && !file.starts_with(docs()) {
                wrong.push(format!("{place}: {target}: leads out of the book, where its HTML cannot follow"));
            } else if let Some(anchor) = anchor
                && !read(&text(&file)).anchors.contains(anchor)
            {
                wrong.push(format!("{place}: {target}: there is no such heading"));
            }
        }
    }
    wrong
}

#[test]
fn every_link_and_anchor_leads_somewhere() {
    let pages = pages("");
    assert!(pages.len() > 15, "{pages:?}");
    let wrong = broken(&pages);
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_broken_link_is_noticed() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let page = folder.path().join("page.md");
    let good =
        "# A b, `c`!\n## Twice\n## Twice\n[1](#a-b-c) [2](page.md#twice-1) [3](https://x.example/#y) `[4](no.md)`\n";
    fs::write(&page, good).expect("written");
    assert_eq!(broken(std::slice::from_ref(&page)), [] as [String; 0]);
    fs::write(&page, format!("{good}[5](no.md) ![6](no.png) [7](#twice-2) [8](page.md#no)\n")).expect("written");
    let wrong = broken(&[page]);
    let count = |what: &str| wrong.iter().filter(|line| line.contains(what)).count();
    assert_eq!((wrong.len(), count("no such file"), count("no such heading")), (4, 2, 2), "{wrong:#?}");
}

#[test]
fn the_book_lists_every_page_once() {
    let summary = docs().join("SUMMARY.md");
    let listed: Vec<PathBuf> =
        read(&text(&summary)).targets.iter().filter_map(|target| Some(destination(&summary, target)?.0)).collect();
    let mut once = listed.clone();
    once.sort();
    let mut there = pages("docs");
    there.retain(|page| *page != summary);
    assert_eq!(once, there);
}

/// The fenced blocks of a page that stand below a comment `<!-- WORD … -->`: what follows the word, and the block.
fn marked<'a>(page: &'a str, word: &str) -> Vec<(&'a str, String)> {
    let mut found = Vec::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        let Some(rest) = line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        let Some(rest) = rest.strip_prefix(word).filter(|rest| rest.is_empty() || rest.starts_with(' ')) else {
            continue;
        };
        assert!(lines.next().is_some_and(|fence| fence.starts_with("```")), "no block follows {line}");
        let block = lines.by_ref().take_while(|line| *line != "```").fold(String::new(), |mut block, line| {
            let _ = writeln!(block, "{line}");
            block
        });
        found.push((rest.trim(), block));
    }
    found
}

#[test]
fn what_a_page_quotes_stands_in_the_file() {
    let mut quoted = 0;
    for page in pages("docs") {
        for (file, block) in marked(&text(&page), "from") {
            let source = text(&page.parent().expect("a folder").join(file));
            // A passage of whole lines.
            let found = format!("\n{source}").contains(&format!("\n{block}"));
            assert!(found, "{}: this is no passage of {file}:\n{block}", page.display());
            quoted += 1;
        }
    }
    assert!(quoted >= 8, "{quoted} quotations");
}

/// The rows of all tables whose first cell is a number or a dash, by the first two cells.
fn rows(page: &str) -> Vec<(String, String)> {
    let cells = page.lines().filter_map(|line| {
        let mut cells = line.strip_prefix("| ")?.split(" | ").map(|cell| cell.trim_matches('`').to_owned());
        Some((cells.next()?, cells.next()?))
    });
    cells.filter(|(first, _)| first == "–" || first.bytes().all(|byte| byte.is_ascii_digit())).collect()
}

fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n## {heading}")).unwrap_or_else(|| panic!("no section {heading}"));
    rest.split_once("\n## ").map_or(rest, |(section, _)| section)
}

#[test]
fn the_protocol_lists_the_daemons_messages() {
    let page = text(&docs().join("protocol.md"));
    let (_, from_messages) = page.split_once("\n## Messages: ").expect("tables");
    let (messages, _) = from_messages.split_once("\n## Ends of connections").expect("their end");
    let expected: Vec<(String, String)> = (0..=u16::MAX)
        .filter_map(|number| Some((number.to_string(), MessageType(number).name()?.to_owned())))
        .collect();
    assert_eq!(rows(messages), expected);
}

#[test]
fn the_protocol_lists_the_daemons_reasons() {
    let page = text(&docs().join("protocol.md"));
    let by_name = |rows: Vec<(String, String)>| -> BTreeMap<String, String> {
        rows.into_iter().map(|(code, name)| (name, code)).collect()
    };
    let expected = Reason::ALL
        .iter()
        .map(|reason| (reason.eject_code().map_or("–".to_owned(), |code| code.to_string()), reason.name().to_owned()));
    assert_eq!(by_name(rows(section(&page, "Ends of connections"))), by_name(expected.collect()));
}

#[test]
fn mdbook_makes_the_book() {
    if !support::has("mdbook", "--version") {
        return support::skip("mdbook_makes_the_book", "mdbook");
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output =
        Command::new("mdbook").arg("build").arg(docs()).arg("-d").arg(folder.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && !said.contains("ERROR") && !said.contains("WARN"), "{said}");
    let page = text(&folder.path().join("getting-started.html"));
    // What the test of links takes for an anchor, mdBook does, too.
    assert!(page.contains("id=\"the-server-process\"") && page.contains("concepts.html"), "{page}");
}
