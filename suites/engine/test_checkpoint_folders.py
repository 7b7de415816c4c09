"""Edited checkpoint folders, read by this engine and by Hugging Face: both must read the same."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stagegate.errors import TokenizerError
from stagegate.models.generation_config import GenerationConfig
from stagegate.models.registry import load_model_config
from stagegate.text.chat_template import ChatTemplate
from stagegate.text.end_tokens import end_tokens
from stagegate.text.tokenizer import Tokenizer
from suites.engine.edited_checkpoint import Edits, edited, with_decoder, without_added

pytestmark = [pytest.mark.requires_hf, pytest.mark.filterwarnings("ignore")]

CONFIG = "config.json"
GENERATION = "generation_config.json"
TOKENIZER = "tokenizer.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
MAP = "special_tokens_map.json"
ADDED = "added_tokens.json"
TEMPLATE = "chat_template.jinja"
TOOL_TEMPLATE = "additional_chat_templates/tool_use.jinja"
NO_DECODER = {"added_tokens_decoder": ...}
NEW = {2048: {"content": "<tool>"}}
SLIDING = {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}

TEXTS = [
    "Alice was beginning to get very tired",
    "<|im_start|>user\nhi <|im_end|>\n<|endoftext|>",
    " a  <tool>  b<tool>c the<|im_end|> ",
    "爱丽丝 🐇 e\u0301 <|object|> [PAD]",
    "",
]
MESSAGES = [{"role": "user", "content": "Who wrote 'this' & <that>?"}]
TOOLS = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
VARIABLES = (
    "{{ bos_token }}|{{ eos_token }}|{{ pad_token }}|{{ unk_token }}|{{ tool_token }}"
    "{{ messages[0].content }}{{ tools | tojson }}"
)

FOLDERS: dict[str, Edits] = {
    "as it is": {},
    # config.json
    "no architectures": {CONFIG: {"architectures": ...}},
    "no hidden_act": {CONFIG: {"hidden_act": ...}},
    "swish": {CONFIG: {"hidden_act": "swish"}},
    "no rms_norm_eps": {CONFIG: {"rms_norm_eps": ...}},
    "another rms_norm_eps": {CONFIG: {"rms_norm_eps": 1e-5}},
    "no rope_theta": {CONFIG: {"rope_theta": ...}},
    "an integer as rope_theta": {CONFIG: {"rope_theta": 500000}},
    "rope_parameters": {
        CONFIG: {"rope_theta": ..., "rope_parameters": {"rope_type": "default", "rope_theta": 3e4}}
    },
    "rope_parameters and the same rope_theta": {
        CONFIG: {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4}}
    },
    "empty rope_parameters": {CONFIG: {"rope_theta": ..., "rope_parameters": {}}},
    "rope_scaling without scaling": {CONFIG: {"rope_scaling": {"type": "default"}}},
    "rope_scaling is null": {CONFIG: {"rope_scaling": None}},
    "no max_position_embeddings": {CONFIG: {"max_position_embeddings": ...}},
    "num_key_value_heads is null": {
        CONFIG: {"num_key_value_heads": None, "num_attention_heads": 2, "head_dim": 16}
    },
    "head_dim": {CONFIG: {"num_attention_heads": 8, "head_dim": 4, "num_key_value_heads": 4}},
    "an unused sliding window": {CONFIG: SLIDING | {"use_sliding_window": False}},
    "a sliding window of null": {CONFIG: SLIDING | {"sliding_window": None}},
    "a sliding window over no layer": {CONFIG: SLIDING | {"max_window_layers": 1}},
    "layer_types beside a sliding window": {CONFIG: SLIDING | {"layer_types": ["full_attention"]}},
    "unknown keys": {CONFIG: {"use_mrope": True, "my_key": [1], "pad_token_id": 7}},
    "bos_token_id": {CONFIG: {"bos_token_id": 7, "eos_token_id": [5, 6]}},
    "a byte of another language": {CONFIG: {"_name_or_path": "爱丽丝/é"}},
    # dtypes
    "dtype alone": {CONFIG: {"torch_dtype": ..., "dtype": "float16"}},
    "dtype and torch_dtype": {CONFIG: {"dtype": "bfloat16"}},
    "no dtype": {CONFIG: {"torch_dtype": ...}},
    "a dtype of null": {CONFIG: {"torch_dtype": None}},
    "a dtype that is not the stored one": {CONFIG: {"torch_dtype": "float32"}},
    # generation_config.json
    "no generation_config.json": {GENERATION: None},
    "an empty generation_config.json": {GENERATION: "{}"},
    "sampling": {
        GENERATION: {
            "temperature": 0.6, "top_p": 0.95, "top_k": 40, "min_p": 0.05,
            "repetition_penalty": 1.05, "max_new_tokens": 2048, "min_new_tokens": 2,
            "stop_strings": ["###"],
        }
    },
    "greedy": {GENERATION: {"do_sample": False, "temperature": 0.6, "top_k": 3, "top_p": 0.5}},
    "neutral values": {
        GENERATION: {"num_beams": 1, "typical_p": 1.0, "no_repeat_ngram_size": 0, "top_k": None}
    },
    "one end token": {GENERATION: {"eos_token_id": 9}},
    # end tokens
    "an end token only the tokenizer names": {
        CONFIG: {"eos_token_id": ...}, GENERATION: {"eos_token_id": ...}
    },
    "no eos_token": {TOKENIZER_CONFIG: {"eos_token": ...}},
    "an eos_token of null": {TOKENIZER_CONFIG: {"eos_token": None}},
    "an eos_token as an object": {
        TOKENIZER_CONFIG: {"eos_token": {"__type": "AddedToken", "content": "<|im_start|>"}}
    },
    # added tokens
    "no tokenizer_config.json": {TOKENIZER_CONFIG: None, TEMPLATE: VARIABLES},
    "no added_tokens_decoder": {TOKENIZER_CONFIG: NO_DECODER},
    "the last token only in tokenizer_config.json": {TOKENIZER: without_added(2047)},
    "a middle token only in tokenizer_config.json": {TOKENIZER: without_added(2046)},
    "all tokens only in tokenizer_config.json": {TOKENIZER: without_added(2045, 2046, 2047)},
    "a new token": {TOKENIZER_CONFIG: with_decoder(NEW)},
    "a new special token": {TOKENIZER_CONFIG: with_decoder({2048: NEW[2048] | {"special": True}})},
    "a token that strips": {
        TOKENIZER_CONFIG: with_decoder({2048: NEW[2048] | {"lstrip": True, "rstrip": True}})
    },
    "a token that is one word": {
        TOKENIZER_CONFIG: with_decoder({2048: {"content": "tool", "single_word": True}})
    },
    "a token that the vocabulary has": {
        TOKENIZER_CONFIG: with_decoder({755: {"content": "the", "single_word": True}})
    },
    "a token that is not normalized": {
        TOKENIZER_CONFIG: with_decoder({2048: {"content": "e\u0301", "normalized": False}})
    },
    "a special token that is not": {
        TOKENIZER_CONFIG: with_decoder({2046: {"special": False}}, additional_special_tokens=[])
    },
    "a token special by a list": {TOKENIZER_CONFIG: with_decoder({2046: {"special": False}})},
    "an end token that strips": {TOKENIZER_CONFIG: with_decoder({2047: {"lstrip": True}})},
    "a pad_token without an id": {TOKENIZER_CONFIG: {"pad_token": "[PAD]"}},
    "a pad_token of the vocabulary": {TOKENIZER_CONFIG: {"pad_token": "the"}},
    "extra tokens without an id": {
        TOKENIZER_CONFIG: {"extra_special_tokens": ["<tool>", "<|object|>"], "pad_token": "[PAD]"}
    },
    "extra tokens by name": {
        TOKENIZER_CONFIG: {"extra_special_tokens": {"tool_token": "<tool>"}}, TEMPLATE: VARIABLES
    },
    "a token of its own name": {TOKENIZER_CONFIG: {"tool_token": "<tool>"}, TEMPLATE: VARIABLES},
    "a number of a token's name": {TOKENIZER_CONFIG: {"num_image_token": 3}},
    "split_special_tokens": {TOKENIZER_CONFIG: {"split_special_tokens": True}},
    "add_prefix_space": {TOKENIZER_CONFIG: {"add_prefix_space": True}},
    "add_bos_token": {
        TOKENIZER_CONFIG: {
            "add_bos_token": True, "add_eos_token": True, "bos_token": "<|endoftext|>"
        }
    },
    "a post-processor that adds a token": {
        TOKENIZER: {
            "post_processor": {
                "type": "TemplateProcessing",
                "single": [
                    {"SpecialToken": {"id": "<|endoftext|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}},
                ],
                "pair": [],
                "special_tokens": {
                    "<|endoftext|>": {
                        "id": "<|endoftext|>", "ids": [2045], "tokens": ["<|endoftext|>"]
                    }
                },
            }
        },
        TOKENIZER_CONFIG: NO_DECODER | {
            "bos_token": {"__type": "AddedToken", "content": "<|endoftext|>", "normalized": True},
            "add_bos_token": True,
            "tokenizer_class": "LlamaTokenizerFast",
        },
    },
    "clean_up_tokenization_spaces": {TOKENIZER_CONFIG: {"clean_up_tokenization_spaces": True}},
    "a short model_max_length": {TOKENIZER_CONFIG: {"model_max_length": 2, "padding_side": "left"}},
    "another tokenizer_class": {TOKENIZER_CONFIG: {"tokenizer_class": "LlamaTokenizerFast"}},
    # older files
    "special_tokens_map.json": {
        TOKENIZER_CONFIG: NO_DECODER | {"eos_token": ...},
        MAP: {"eos_token": "<|im_start|>", "pad_token": {"content": "[PAD]"}},
    },
    "special_tokens_map.json over tokenizer_config.json": {
        TOKENIZER_CONFIG: NO_DECODER, MAP: {"eos_token": "<|endoftext|>"}
    },
    "special_tokens_map.json beside added_tokens_decoder": {MAP: {"eos_token": "<|endoftext|>"}},
    "added_tokens.json": {TOKENIZER_CONFIG: NO_DECODER, ADDED: {"<tool>": 2048}},
    "added_tokens.json with what tokenizer.json has": {
        TOKENIZER_CONFIG: NO_DECODER | {"additional_special_tokens": ...},
        ADDED: {"<|endoftext|>": 2045, "<|im_start|>": 2046, "<|im_end|>": 2047, "<tool>": 2048},
    },
    "added_tokens.json with a special token": {
        TOKENIZER_CONFIG: NO_DECODER,
        ADDED: {"<tool>": 2048},
        MAP: {"extra_special_tokens": ["<tool>"]},
    },
    "added_tokens.json beside added_tokens_decoder": {ADDED: {"<tool>": 2048}},
    # chat templates
    "a template of its own file": {TEMPLATE: VARIABLES},
    "named templates": {
        TOKENIZER_CONFIG: {
            "chat_template": [
                {"name": "default", "template": "d"},
                {"name": "tool_use", "template": VARIABLES},
            ]
        }
    },
    "named templates in an object": {
        TOKENIZER_CONFIG: {"chat_template": {"default": "d", "tool_use": VARIABLES}}
    },
    "files over named templates": {
        TEMPLATE: "f",
        TOKENIZER_CONFIG: {"chat_template": [{"name": "tool_use", "template": "t"}]},
    },
    "a file for tools": {TEMPLATE: "f", TOOL_TEMPLATE: VARIABLES},
    "a template of a processor": {"chat_template.json": {"chat_template": "p"}},
    "no template": {TOKENIZER_CONFIG: {"chat_template": ...}},
}  # fmt: skip


@pytest.mark.parametrize("name", FOLDERS)
def test_hugging_face_reads_the_same(checkpoint_original: Path, tmp_path: Path, name: str) -> None:
    folder = edited(checkpoint_original, tmp_path / "copy", FOLDERS[name])
    assert read_by_the_engine(folder) == read_by_hugging_face(folder)


def read_by_the_engine(folder: Path) -> dict[str, Any]:
    model = load_model_config(folder)
    decoder = model.decoder
    generation = GenerationConfig.read(folder)
    tokenizer = Tokenizer.load(folder)
    return {
        "ids": [tokenizer.encode(text) for text in TEXTS],
        "texts": [
            tokenizer.decode(tokenizer.encode(text), skip_special_tokens=skip)
            for text in TEXTS
            for skip in (False, True)
        ],
        "special": {i for i in range(tokenizer.vocab_size) if tokenizer.is_special(i)},
        "ends": set(end_tokens(model, generation, tokenizer)),
        "chat": [
            text_or_none(lambda: ChatTemplate.load(folder).render(MESSAGES)),
            text_or_none(lambda: ChatTemplate.load(folder).render(MESSAGES, tools=TOOLS)),
        ],
        "dtype": {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}[model.dtype],
        "sizes": (
            *(decoder.vocab_size, decoder.hidden_size, decoder.intermediate_size),
            *(decoder.num_layers, decoder.num_heads, decoder.num_kv_heads, decoder.head_dim),
            decoder.max_position_embeddings,
        ),
        "constants": (decoder.rms_norm_eps, decoder.rope_theta, decoder.tie_word_embeddings),
        "layers": ["full_attention"] * decoder.num_layers,
        "bos": model.bos_token_id,
        "sampling": (
            *(generation.temperature, generation.top_p, generation.top_k, generation.min_p),
            *(generation.repetition_penalty, generation.max_new_tokens),
            *(generation.min_new_tokens, list(generation.stop_strings)),
        ),
    }


def read_by_hugging_face(folder: Path) -> dict[str, Any]:
    import transformers
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    config = AutoConfig.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    generation = transformers.GenerationConfig()
    if (folder / GENERATION).exists():
        generation = transformers.GenerationConfig.from_pretrained(folder)
    dtype = config.dtype
    if dtype is None:
        dtype = AutoModelForCausalLM.from_pretrained(folder, dtype="auto").dtype
    greedy = generation.do_sample is False
    added = tokenizer.added_tokens_decoder
    return {
        "ids": [tokenizer.encode(text) for text in TEXTS],
        "texts": [
            tokenizer.decode(tokenizer.encode(text), skip_special_tokens=skip)
            for text in TEXTS
            for skip in (False, True)
        ],
        "special": {token_id for token_id, token in added.items() if token.special},
        "ends": {
            *as_list(config.eos_token_id),
            *as_list(generation.eos_token_id),
            *as_list(tokenizer.eos_token_id),
        },
        "chat": [
            text_or_none(
                partial(
                    tokenizer.apply_chat_template,
                    MESSAGES,
                    tools=tools,
                    tokenize=False,
                    add_generation_prompt=True,
                )
            )
            for tools in (None, TOOLS)
        ],
        "dtype": str(dtype).removeprefix("torch."),
        "sizes": (
            *(config.vocab_size, config.hidden_size, config.intermediate_size),
            *(config.num_hidden_layers, config.num_attention_heads, config.num_key_value_heads),
            getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads,
            config.max_position_embeddings,
        ),
        "constants": (
            *(config.rms_norm_eps, config.rope_parameters["rope_theta"]),
            config.tie_word_embeddings,
        ),
        "layers": config.layer_types,
        "bos": config.bos_token_id,
        # Absent keys are neutral here: Hugging Face's own defaults are no recommendation.
        "sampling": (
            0.0 if greedy else as_stated(generation.temperature, 1.0),
            1.0 if greedy else as_stated(generation.top_p, 1.0),
            0 if greedy else as_stated(generation.top_k, 0),
            0.0 if greedy else as_stated(generation.min_p, 0.0),
            *(as_stated(generation.repetition_penalty, 1.0), generation.max_new_tokens),
            *(as_stated(generation.min_new_tokens, 0), as_list(generation.stop_strings)),
        ),
    }


def text_or_none(render: Callable[[], Any]) -> str | None:
    """None where the folder has no template."""
    try:
        return str(render())
    except (TokenizerError, ValueError):
        return None


def as_stated(value: Any, neutral: Any) -> Any:
    return neutral if value is None else value


def as_list(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]
