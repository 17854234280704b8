//! HTML as readable Markdown.
//!
//! Hostile markup is met before a tree is built: a page is first parsed without keeping it, only counting the elements
//! and how deep they nest, and one that exceeds the limits has its tags taken out instead. Refuses nothing: every page
//! becomes some text.

use dom_smoothie::{Config, Readability};
use htmd::HtmlToMarkdown;
use html5ever::{
    Attribute, QualName,
    interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink},
    parse_document,
    tendril::{StrTendril, TendrilSink},
};
use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    rc::Rc,
};
use url::Url;

/// Most elements of a page that is made readable.
const ELEMENTS_MAX: usize = 60_000;
/// Deepest nesting of a page that is made readable; bounds the stack of what walks it.
const DEPTH_MAX: usize = 192;
/// Most bytes that writing a page's addresses out in full may add: each grows by as much as the page's base address.
const ADDRESS_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes parsed between two looks at the counts: misnested markup can make many elements of few bytes.
const STEP_BYTES: usize = 256;
/// Least text an article has; with less, the whole page is shown.
const ARTICLE_BYTES_MIN: usize = 200;
/// Longest title, in bytes.
const TITLE_BYTES_MAX: usize = 300;
/// Elements without text for readers.
const SKIPPED: [&str; 9] = [
    "script", "style", "noscript", "template", "svg", "iframe", "head", "nav", "footer",
];

/// A page as text.
pub(super) struct Page {
    /// Its title; empty if it has none.
    pub(super) title: String,
    /// Its text, in Markdown where it was markup.
    pub(super) text: String,
}

/// Makes a page readable.
pub(super) fn page(html: &str, url: &Url) -> Page {
    if !is_harmless(html, url) {
        return Page {
            title: String::new(),
            text: without_tags(html),
        };
    }
    match unbroken(|| article(html, url)) {
        Some(page) if page.text.trim().len() >= ARTICLE_BYTES_MIN => page,
        other => {
            let title = other.map(|page| page.title).unwrap_or_default();
            Page {
                title,
                text: unbroken(|| markdown(html)).unwrap_or_else(|| without_tags(html)),
            }
        }
    }
}

/// What a foreign parser makes of a page; nothing if it breaks off on it.
fn unbroken<T>(work: impl FnOnce() -> Option<T>) -> Option<T> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .ok()
        .flatten()
}

/// The main text of a page, if it has one.
fn article(html: &str, url: &Url) -> Option<Page> {
    let config = Config {
        max_elements_to_parse: ELEMENTS_MAX,
        disable_json_ld: true,
        ..Config::default()
    };
    let mut reader = Readability::new(html, Some(url.as_str()), Some(config)).ok()?;
    let title = aaos_core::text::preview(&reader.get_article_title(), TITLE_BYTES_MAX);
    let text = reader
        .parse()
        .ok()
        .filter(|article| is_harmless(&article.content, url))
        .and_then(|article| markdown(&article.content));
    Some(Page {
        title,
        text: text.unwrap_or_default(),
    })
}

fn markdown(html: &str) -> Option<String> {
    let converter = HtmlToMarkdown::builder()
        .skip_tags(SKIPPED.to_vec())
        .build();
    converter.convert(html).ok()
}

/// Whether a page can be built as a tree and walked within bounds.
fn is_harmless(html: &str, url: &Url) -> bool {
    let count = Count {
        base: Cell::new(url.as_str().len()),
        ..Count::default()
    };
    let mut parser = parse_document(count, html5ever::ParseOpts::default());
    let mut rest = html;
    while !rest.is_empty() {
        let (step, after) = rest.split_at(rest.ceil_char_boundary(STEP_BYTES.min(rest.len())));
        parser.process(StrTendril::from_slice(step));
        if parser.tokenizer.sink.sink.exceeded() {
            return false;
        }
        rest = after;
    }
    let counted = parser.finish();
    !counted.exceeded()
}

/// A page's text by taking out what looks like a tag. Holds nothing but its result, whatever the nesting.
fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len() / 2);
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (before, tag) = rest.split_at(at);
        text.push_str(before);
        let end = tag.find('>').map_or(tag.len(), |end| end + 1);
        if !text.ends_with(char::is_whitespace) {
            text.push(' ');
        }
        rest = tag.get(end..).unwrap_or_default();
    }
    text.push_str(rest);
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Counts what a parser would build, without building it.
#[derive(Default)]
struct Count {
    elements: Cell<usize>,
    deepest: Cell<usize>,
    /// Moves of a whole list of children, each of which may deepen what is beneath by one.
    moved: Cell<usize>,
    /// Addresses in attributes, and the longest that a base for them may be.
    addresses: Cell<usize>,
    base: Cell<usize>,
    document: Handle,
}

impl Count {
    fn exceeded(&self) -> bool {
        self.elements.get() > ELEMENTS_MAX
            || self.addresses.get().saturating_mul(self.base.get()) > ADDRESS_BYTES_MAX
            || self.deepest.get().saturating_add(self.moved.get()) > DEPTH_MAX
    }

    fn place(&self, child: &NodeOrText<Handle>, depth: usize) {
        if let NodeOrText::AppendNode(node) = child {
            node.0.depth.set(depth);
            self.deepest.set(self.deepest.get().max(depth));
        }
    }

    /// Notes the addresses an element holds, and the base it may set for all.
    fn note(&self, name: &QualName, attributes: &[Attribute]) {
        for attribute in attributes {
            let held = match &*attribute.name.local {
                "href" if &*name.local == "base" => {
                    self.base
                        .set(self.base.get().saturating_add(attribute.value.len()));
                    0
                }
                "href" | "src" | "poster" => 1,
                "srcset" => attribute.value.matches(',').count().saturating_add(1),
                _ => 0,
            };
            self.addresses
                .set(self.addresses.get().saturating_add(held));
        }
    }

    fn make(&self, name: Option<QualName>) -> Handle {
        self.elements.set(self.elements.get().saturating_add(1));
        Handle(Rc::new(Seen {
            name,
            ..Seen::default()
        }))
    }
}

/// A node that is known only by its name and depth.
#[derive(Clone, Default)]
struct Handle(Rc<Seen>);

#[derive(Default)]
struct Seen {
    name: Option<QualName>,
    depth: Cell<usize>,
    contents: RefCell<Option<Handle>>,
}

/// The name of a node that is no element; the parser asks only elements.
fn nameless() -> &'static QualName {
    use std::sync::OnceLock;
    static NAME: OnceLock<QualName> = OnceLock::new();
    NAME.get_or_init(|| QualName::new(None, html5ever::ns!(), html5ever::local_name!("")))
}

impl TreeSink for Count {
    type Handle = Handle;
    type Output = Self;
    type ElemName<'a> = &'a QualName;

    fn finish(self) -> Self {
        self
    }
    fn parse_error(&self, _message: Cow<'static, str>) {}
    fn get_document(&self) -> Handle {
        self.document.clone()
    }
    fn elem_name<'a>(&'a self, target: &'a Handle) -> &'a QualName {
        target.0.name.as_ref().unwrap_or_else(|| nameless())
    }
    fn create_element(
        &self,
        name: QualName,
        attributes: Vec<Attribute>,
        _flags: ElementFlags,
    ) -> Handle {
        self.note(&name, &attributes);
        self.make(Some(name))
    }
    fn create_comment(&self, _text: StrTendril) -> Handle {
        self.make(None)
    }
    fn create_pi(&self, _target: StrTendril, _data: StrTendril) -> Handle {
        self.make(None)
    }
    fn append(&self, parent: &Handle, child: NodeOrText<Handle>) {
        self.place(&child, parent.0.depth.get().saturating_add(1));
    }
    fn append_based_on_parent_node(
        &self,
        element: &Handle,
        above: &Handle,
        child: NodeOrText<Handle>,
    ) {
        self.place(
            &child,
            element
                .0
                .depth
                .get()
                .max(above.0.depth.get())
                .saturating_add(1),
        );
    }
    fn append_doctype_to_document(
        &self,
        _name: StrTendril,
        _public: StrTendril,
        _system: StrTendril,
    ) {
    }
    fn get_template_contents(&self, target: &Handle) -> Handle {
        let mut contents = target.0.contents.borrow_mut();
        let inner = contents.get_or_insert_with(Handle::default);
        inner.0.depth.set(target.0.depth.get());
        inner.clone()
    }
    fn same_node(&self, one: &Handle, other: &Handle) -> bool {
        Rc::ptr_eq(&one.0, &other.0)
    }
    fn set_quirks_mode(&self, _mode: QuirksMode) {}
    fn append_before_sibling(&self, sibling: &Handle, child: NodeOrText<Handle>) {
        self.place(&child, sibling.0.depth.get());
    }
    fn add_attrs_if_missing(&self, _target: &Handle, _attributes: Vec<Attribute>) {}
    fn remove_from_parent(&self, _target: &Handle) {}
    fn reparent_children(&self, _node: &Handle, _parent: &Handle) {
        self.moved.set(self.moved.get().saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
    use super::*;

    fn shown(html: &str) -> Page {
        page(html, &Url::parse("https://h.example/a/").unwrap())
    }

    #[test]
    fn an_article_becomes_markdown_without_what_is_around_it() {
        let words = "The quick brown fox jumps over the lazy dog and goes on to tell a long story about it. ".repeat(8);
        let html = format!(
            "<html><head><title>A story</title><script>evil()</script></head><body><nav><a href=/x>menu</a></nav>\
             <article><h2>Part one</h2><p>{words}</p><p>See <a href=\"b\">more</a>.</p><p>{words}</p></article></body></html>"
        );
        let page = shown(&html);
        assert_eq!(page.title, "A story");
        assert!(
            page.text.contains("## Part one") && page.text.contains("The quick brown fox"),
            "{}",
            page.text
        );
        assert!(
            page.text.contains("(https://h.example/a/b)"),
            "{}",
            page.text
        );
        assert!(!page.text.contains("evil") && !page.text.contains("menu"));
    }

    #[test]
    fn a_page_that_is_no_article_is_shown_whole() {
        let page =
            shown("<html><head><title>T</title></head><body><ul><li>one<li>two</ul></body></html>");
        assert_eq!(page.title, "T");
        assert!(
            page.text.contains("one") && page.text.contains("two"),
            "{}",
            page.text
        );
    }

    #[test]
    fn hostile_nesting_and_misnesting_end_as_plain_text() {
        let deep = format!("{}words{}", "<div>".repeat(100_000), "</div>".repeat(10));
        let formatting: String = (0..20_000)
            .map(|number| format!("<b id={number}>"))
            .collect();
        let quadratic = format!("{formatting}{}", "<p>x".repeat(20_000));
        let url = Url::parse("https://h.example/a/").unwrap();
        let tables = "<table><tr><td>".repeat(20_000);
        for html in [deep, tables, quadratic, "<b><table><td></b>".repeat(10_000)] {
            assert!(!is_harmless(&html, &url));
            assert!(page(&html, &url).text.len() <= html.len());
        }
        assert_eq!(
            shown(&format!("{}words", "<div>".repeat(10_000))).text,
            "words"
        );
        for html in [
            "<".repeat(20_000),
            "<a><b><p>x</a></b>".repeat(2_000),
            "<i>x</i>".repeat(5_000),
            "<p>x<br>".repeat(5_000),
            "<div>".repeat(150) + "words",
        ] {
            assert!(is_harmless(&html, &url) && !page(&html, &url).text.is_empty());
        }
    }

    #[test]
    fn a_long_base_address_is_not_multiplied() {
        let words = "words and more words, ".repeat(20);
        let links = format!("<p>{words}<a href=x>y</a></p>").repeat(3000);
        let html = format!(
            "<html><head><base href=\"/{}/\"></head><body>{links}</body></html>",
            "b".repeat(8000)
        );
        assert!(shown(&html).text.len() < html.len());
        let sources = format!("<p>{words}<img srcset=\"{}\"></p>", "a,".repeat(100_000));
        let long = Url::parse(&format!("https://h.example/{}/", "u".repeat(4000))).unwrap();
        assert!(page(&sources, &long).text.len() < sources.len());
    }

    #[test]
    fn any_bytes_become_some_text() {
        for html in [
            "",
            "\0",
            "<",
            "<!--",
            "<html",
            "&#x110000;&bogus;",
            "<svg><style><b>",
            "<template><template>",
            "plain",
        ] {
            let _text = shown(html);
        }
        assert!(shown("plain words").text.contains("plain words"));
    }
}
