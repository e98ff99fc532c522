"""Trains the byte-level BPE that both robot models share, with Qwen3's special tokens and a split of its own.

usage: python train_tokenizer.py OUT_DIR [--vocabulary 2560] [--scenes 3000]
"""

import argparse
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import conversation

# A name must have the same tokens wherever it stands, or a small model cannot learn to copy it: with Qwen3's split " mug" in a
# sentence and "mug" in quotes are two unrelated tokens. So words never take the space before them, which is a token of its own.
# That would lengthen texts by a half; three rules shorten them again: punctuation and keys of JSON are one piece, articles and
# prepositions take the space that follows them, and words that are no part of a name take the one before them.
_JSON_KEYS = r'(?:\n?[.\]}"]*(?:, )?[{\[]?"(?:type": "(?:function|object|string|number)"|\w+": ))+[{\["]*'
_JSON_ENDS = r'"[\]}]+\n?|[\]}]+\n?|", "?|"'
_LEADING = r" ?(?i:the|an?|my|your|this|that|to|at|on|onto|in|into|by|say|of|from|near|under|inside|beside) |[,:-] "
_PLAIN = (r" (?i:and|then|after|afterwards|before|next|first|now|please|thanks|but|so|just|also|if|than|with|for|is|are|was|be|am|it|its|me|you|"
          r"i|we|us|there|here|what|how|where|which|can|could|would|will|should|may|do|does|not|no|as|up|down|off|out|over|back|away|again|go|"
          r"move|drive|turn|rotate|pick|grab|take|get|put|place|set|speed|metres?|meters?|degrees?|seconds?|m|cm|deg|left|right|forwards?|"
          r"backwards?|per|point|half|one|two|three|four|five|six|seven|eight|nine|ten|twenty|thirty|forty|fifty|sixty|ninety|hundred)(?![\p{L}\p{N}])")
_QWEN = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLIT = "|".join([_JSON_KEYS, _JSON_ENDS, _LEADING, _PLAIN, _QWEN])
# Names and flags of Qwen3: tags of tools and thinking stay in the text when special tokens are skipped.
SPECIAL = [("<|endoftext|>", True), ("<|im_start|>", True), ("<|im_end|>", True), ("<tool_call>", False), ("</tool_call>", False),
           ("<tool_response>", False), ("</tool_response>", False), ("<think>", False), ("</think>", False)]


def corpus(scenes: int):
    rng = random.Random(20261124)
    for _ in range(scenes):
        scene = conversation.scene(rng, "train", 24)
        # The tools block hardly varies; now and then is enough for its merges to be learnt.
        yield scene.prefix if rng.random() < 0.3 else scene.system
        for branch in scene.branches:
            yield branch.context + branch.answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--vocabulary", type=int, default=2560)
    parser.add_argument("--scenes", type=int, default=3000)
    arguments = parser.parse_args()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(SPLIT), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=arguments.vocabulary - len(SPECIAL), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)

    def without_tags(text: str) -> str:
        for name, _ in SPECIAL:
            text = text.replace(name, "\n")
        return text

    tokenizer.train_from_iterator((without_tags(t) for t in corpus(arguments.scenes)), trainer)
    for name, special in SPECIAL:
        token = AddedToken(name, special=special, normalized=False)
        (tokenizer.add_special_tokens if special else tokenizer.add_tokens)([token])
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(arguments.out / "tokenizer.json"))
    template = pathlib.Path(__file__).with_name("chat_template.jinja").read_text()
    config = {"tokenizer_class": "Qwen2Tokenizer", "add_bos_token": False, "add_prefix_space": False, "bos_token": None, "eos_token": "<|im_end|>",
              "pad_token": "<|endoftext|>", "unk_token": None, "model_max_length": 4096, "clean_up_tokenization_spaces": False, "chat_template": template}
    (arguments.out / "tokenizer_config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n")
    print(f"{tokenizer.get_vocab_size()} tokens")


if __name__ == "__main__":
    main()
