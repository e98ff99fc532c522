//! The model that is compiled into the program: a small Qwen3 that turns English commands into calls
//! of a robot's functions. `models/README.md` says how it was made and how well it does.

use eitri_models::EmbeddedModel;
use serde_json::Value;

/// Name of the bundled model, which is taken when none is named.
pub const ROBOT: &str = "robot";

/// Its sibling with experts, which lies in the repository and not in the program.
pub const ROBOT_MOE: &str = "robot-moe";

macro_rules! file {
    ($name:literal) => {
        include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/", $name))
    };
}

#[cfg(feature = "bundled-model")]
static MODEL: Option<EmbeddedModel> = Some(EmbeddedModel {
    name: ROBOT,
    config: file!("robot/config.json"),
    generation_config: Some(file!("robot/generation_config.json")),
    weights: file!("robot/model.safetensors"),
    tokenizer: file!("robot/tokenizer.json"),
    tokenizer_config: Some(file!("robot/tokenizer_config.json")),
});
#[cfg(not(feature = "bundled-model"))]
static MODEL: Option<EmbeddedModel> = None;

/// The bundled model of that name.
pub(crate) fn find(name: &str) -> Option<&'static EmbeddedModel> {
    MODEL.as_ref().filter(|model| model.name == name)
}

/// The functions that the model was trained to call, as the OpenAI API describes them.
pub fn robot_tools() -> Vec<Value> {
    // The file is part of the repository; a test reads it.
    serde_json::from_slice(file!("robot-tools.json")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    #[test]
    fn there_are_nine_functions() {
        let tools = super::robot_tools();
        let names: Vec<&str> =
            tools.iter().filter_map(|tool| tool["function"]["name"].as_str()).collect();
        let expected =
            ["move", "turn", "go_to", "pick", "place", "set_speed", "stop", "report", "say"];
        assert_eq!(names, expected);
    }
}
