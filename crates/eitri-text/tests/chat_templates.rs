//! Chat templates against Python's jinja2 (`fixtures/make_goldens.py`), and what Python has no
//! opinion on: limits, loading order, forms of content.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use eitri_text::{ChatInput, ChatTemplate, NamedTemplate, SpecialToken, SpecialTokens, TextError};
use serde_json::{Map, Value, json};

fn special() -> SpecialTokens {
    let token = |id, text: &str| Some(SpecialToken { id, text: text.to_owned() });
    SpecialTokens {
        bos: token(1, "<s>"),
        eos: token(2, "<|im_end|>"),
        unk: None,
        pad: token(0, "<|endoftext|>"),
    }
}

fn source(name: &str) -> &'static str {
    match name {
        "qwen3" => include_str!("fixtures/templates/qwen3.jinja"),
        "qwen3_coder" => include_str!("fixtures/templates/qwen3_coder.jinja"),
        "smollm2" => include_str!("fixtures/templates/smollm2.jinja"),
        "python_semantics" => include_str!("fixtures/templates/python_semantics.jinja"),
        other => panic!("no template {other}"),
    }
}

fn template(source: &str) -> ChatTemplate {
    ChatTemplate::new(source, &special()).unwrap()
}

fn render(source: &str, messages: &[Value]) -> Result<String, TextError> {
    let no_kwargs = Map::new();
    template(source).render(&input(messages, &no_kwargs))
}

fn input<'a>(messages: &'a [Value], kwargs: &'a Map<String, Value>) -> ChatInput<'a> {
    ChatInput {
        messages,
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs,
    }
}

fn user(content: impl Into<Value>) -> Value {
    json!({"role": "user", "content": content.into()})
}

#[test]
fn goldens_from_python() {
    let goldens: Vec<Value> =
        serde_json::from_str(include_str!("fixtures/chat_goldens.json")).unwrap();
    assert!(goldens.len() > 40);
    for golden in &goldens {
        let name = format!("{} / {}", golden["template"], golden["name"]);
        let tools = &golden["tools"];
        let chat = ChatInput {
            messages: golden["messages"].as_array().unwrap(),
            tools: (!tools.is_null()).then_some(tools),
            add_generation_prompt: golden["add_generation_prompt"].as_bool().unwrap(),
            continue_final_message: false,
            kwargs: golden["kwargs"].as_object().unwrap(),
        };
        let rendered = template(source(golden["template"].as_str().unwrap())).render(&chat);
        match (rendered, golden["expected"].as_str()) {
            (Ok(ours), Some(python)) => {
                for (line, (ours, python)) in ours.lines().zip(python.lines()).enumerate() {
                    assert_eq!(ours, python, "{name}, line {}", line + 1);
                }
                assert_eq!(ours, python, "{name}");
            }
            (Err(_), None) => {}
            (ours, python) => panic!("{name}: ours {ours:?}, Python {python:?}"),
        }
    }
}

#[test]
fn a_template_can_refuse_and_says_where() {
    let error = render("{{ 1 }}\n{{ raise_exception('roles must alternate') }}", &[]).unwrap_err();
    assert_eq!(error.to_string(), "chat template: roles must alternate (line 2)");
    let error = ChatTemplate::new("{% for x in %}", &special()).unwrap_err();
    assert!(matches!(error, TextError::TemplateSyntax(_)));
    assert!(error.to_string().contains("line 1"), "{error}");
}

#[test]
fn hostile_templates_end() {
    for hostile in [
        "{% for a in range(99999) %}{% for b in range(99999) %}x{% endfor %}{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{% set ns = namespace(x='aaaaaaaa') %}{% for i in range(99) %}{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
        "{{ 'a' * 999999999999 }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x | tojson }}",
        "{% set ns = namespace(x=[]) %}{% for i in range(9999) %}{% set ns.x = [ns.x] %}{% endfor %}{{ ns.x }}",
    ] {
        let error = render(hostile, &[user("x")]).unwrap_err();
        assert!(matches!(error, TextError::Render(_)), "{hostile}: {error}");
    }
}

#[test]
fn special_tokens_and_kwargs_are_variables() {
    let source =
        "{{ bos_token }}{{ eos_token }}{{ unk_token is defined }}{{ mode }}{{ tools is none }}";
    let kwargs = json!({"mode": "fast", "bos_token": "<mine>"}).as_object().unwrap().clone();
    let rendered = template(source).render(&input(&[], &kwargs)).unwrap();
    assert_eq!(rendered, "<mine><|im_end|>FalsefastTrue");
}

#[test]
fn content_takes_the_form_the_template_expects() {
    let strings = "{% for m in messages %}<{{ m.role }}>{{ m['content'] }}{% endfor %}";
    let parts = "{% for m in messages %}<{{ m.role }}>{% for p in m.content %}{{ p.text }}|{% endfor %}{% endfor %}";
    let both = "{% for m in messages %}{% if m.content is string %}S:{{ m.content }}{% else %}{% for p in m.content %}P:{{ p.text }}{% endfor %}{% endif %}{% endfor %}";
    let text = [user("a")];
    let list = [user(json!([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]))];
    assert_eq!(render(strings, &text).unwrap(), "<user>a");
    assert_eq!(render(strings, &list).unwrap(), "<user>a\nb");
    assert_eq!(render(parts, &text).unwrap(), "<user>a|");
    assert_eq!(render(parts, &list).unwrap(), "<user>a|b|");
    assert_eq!(render(both, &text).unwrap(), "S:a");
    assert_eq!(render(both, &list).unwrap(), "P:aP:b");
    // Templates of the bundled kinds: parts arrive as their text.
    for name in ["qwen3", "qwen3_coder", "smollm2"] {
        let joined = render(source(name), &[user("a\nb")]).unwrap();
        assert_eq!(render(source(name), &list).unwrap(), joined, "{name}");
    }
    let image = [user(json!([{"type": "image_url", "image_url": {"url": "x"}}]))];
    let error = render(strings, &image).unwrap_err().to_string();
    assert!(error.contains("messages[0].content[0]") && error.contains("image_url"), "{error}");
}

#[test]
fn the_last_message_can_be_continued() {
    let messages = [user("Hi"), json!({"role": "assistant", "content": "Sure, "})];
    let no_kwargs = Map::new();
    let mut chat = input(&messages, &no_kwargs);
    chat.continue_final_message = true;
    let smollm = template(source("smollm2"));
    let error = smollm.render(&chat).unwrap_err().to_string();
    assert!(error.contains("continue_final_message") && error.contains("add_generation_prompt"));
    chat.add_generation_prompt = false;
    assert!(smollm.render(&chat).unwrap().ends_with("<|im_start|>assistant\nSure, "));
    let silent = template("nothing").render(&chat).unwrap_err().to_string();
    assert!(silent.contains("continue_final_message"), "{silent}");
}

#[test]
fn conversations_with_tools_use_the_template_for_tools() {
    let named =
        |name: &str, source: &str| NamedTemplate { name: name.into(), source: source.into() };
    let set = [named("tool_use", "T"), named("default", "D"), named("rag", "R")];
    let template = ChatTemplate::from_named(&set, &special()).unwrap();
    let no_kwargs = Map::new();
    let mut chat = input(&[], &no_kwargs);
    assert_eq!(template.render(&chat).unwrap(), "D");
    let (none, some) = (json!([]), json!([{"type": "function"}]));
    chat.tools = Some(&none);
    assert_eq!(template.render(&chat).unwrap(), "D");
    chat.tools = Some(&some);
    assert_eq!(template.render(&chat).unwrap(), "T");
    assert!(ChatTemplate::from_named(&[], &special()).is_err());
}

#[test]
fn strftime_now_knows_the_year() {
    let year: u32 = render("{{ strftime_now('%Y') }}", &[]).unwrap().parse().unwrap();
    assert!(year >= 2025);
    assert!(render("{{ strftime_now('%Q') }}", &[]).is_err());
}
