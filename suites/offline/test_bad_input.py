"""Bad input raises one clear typed error, and the engine serves the next request."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stagegate import LLM, SamplingParams
from stagegate.errors import (
    ArgumentError,
    CapacityError,
    ConfigError,
    InvalidRequestError,
    ModelError,
    StagegateError,
    TokenizerError,
)
from stagegate.models.registry import load_model_config

GREEDY = SamplingParams(temperature=0, max_tokens=8)


@contextmanager
def unharmed(llm: LLM) -> Iterator[None]:
    """Assert that the engine answers the same behind the block as before it."""
    [before] = llm.generate("Alice was", GREEDY)
    yield
    [after] = llm.generate("Alice was", GREEDY)
    assert after.outputs == before.outputs


@pytest.mark.parametrize(
    ("prompt", "parameter", "words"),
    [
        ("", "prompt", "empty"),
        ([], "prompt", "empty"),
        ([-1], "prompt", "-1"),
        ("broken \ud800 text", "prompt", "surrogate"),
        (3.5, "prompt", "float"),
    ],
)
def test_bad_prompt(llm: LLM, prompt: Any, parameter: str, words: str) -> None:
    good: list[Any] = ["Alice was"]
    with unharmed(llm), pytest.raises(InvalidRequestError, match=words) as caught:
        llm.generate([*good, prompt], GREEDY)
    assert caught.value.parameter == parameter


def test_a_token_beyond_the_vocabulary(llm: LLM) -> None:
    size = llm.engine.model.decoder.vocab_size
    for prompt in ([5, size], [2 * size]):
        with unharmed(llm), pytest.raises(InvalidRequestError, match=str(prompt[-1])) as caught:
            llm.generate([prompt], GREEDY)
        assert caught.value.parameter == "prompt"
    assert llm.generate([[5, size - 1]], GREEDY)[0].finished


def test_prompt_longer_than_the_model(llm: LLM) -> None:
    longest = llm.engine.max_model_len
    with unharmed(llm), pytest.raises(CapacityError, match=str(longest)):
        llm.generate([[5] * longest], GREEDY)


def test_prompt_larger_than_the_cache(model_path: Path, device: str, kv_layout: str) -> None:
    llm = LLM(model_path, device=device, kv_layout=kv_layout, kv_capacity_tokens=64)
    with unharmed(llm), pytest.raises(CapacityError, match="64"):
        llm.generate([[5] * 64], GREEDY)


def test_output_that_outgrows_the_cache_ends_with_length(
    model_path: Path, device: str, kv_layout: str
) -> None:
    llm = LLM(model_path, device=device, kv_layout=kv_layout, kv_capacity_tokens=64)
    with unharmed(llm):
        [output] = llm.generate(
            [[5] * 32], SamplingParams(temperature=0, max_tokens=None, ignore_eos=True)
        )
    assert output.outputs[0].finish_reason == "length"
    assert len(output.prompt_token_ids) + len(output.outputs[0].token_ids) in (64, 65)


@pytest.mark.parametrize(
    ("settings", "parameter"),
    [
        ({"temperature": -0.1}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_p": 0.0}, "top_p"),
        ({"top_p": 1e-300}, "top_p"),
        ({"top_p": 1.1}, "top_p"),
        ({"top_k": -1}, "top_k"),
        ({"min_p": 2}, "min_p"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 4, "min_tokens": 5}, "min_tokens"),
        ({"n": 0}, "n"),
        ({"logprobs": 21}, "logprobs"),
        ({"prompt_logprobs": -1}, "prompt_logprobs"),
        ({"repetition_penalty": 0}, "repetition_penalty"),
        ({"repetition_penalty": 1e-3}, "repetition_penalty"),
        ({"presence_penalty": 3}, "presence_penalty"),
        ({"frequency_penalty": "1"}, "frequency_penalty"),
        ({"stop": ["ok", ""]}, "stop"),
        ({"stop_token_ids": [-3]}, "stop_token_ids"),
        ({"logit_bias": {3: 101}}, "logit_bias"),
        ({"seed": 1 << 64}, "seed"),
    ],
)
def test_bad_sampling_parameter(settings: dict[str, Any], parameter: str) -> None:
    with pytest.raises(InvalidRequestError, match=parameter) as caught:
        SamplingParams(**settings)
    assert caught.value.parameter == parameter


@pytest.mark.parametrize("parameter", ["stop_token_ids", "logit_bias"])
def test_parameters_beyond_the_vocabulary(llm: LLM, parameter: str) -> None:
    size = llm.engine.model.decoder.vocab_size
    settings: dict[str, Any] = {parameter: {size: 1.0} if parameter == "logit_bias" else (size,)}
    with unharmed(llm), pytest.raises(InvalidRequestError, match=str(size)):
        llm.generate("Alice was", SamplingParams(**settings))


def test_wrong_number_of_parameters(llm: LLM) -> None:
    with pytest.raises(InvalidRequestError, match="2 prompts"):
        llm.generate(["a", "b"], [GREEDY])


@pytest.mark.parametrize("messages", [[], [{"content": "no role"}], "text"])
def test_bad_messages(llm: LLM, messages: Any) -> None:
    with unharmed(llm), pytest.raises(InvalidRequestError, match="messages"):
        llm.chat([messages])


def test_a_step_that_fails_in_the_core(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    submit = llm.engine.executor.submit

    def fail_third(step: Any) -> Any:
        calls.append(step)
        if len(calls) == 3:
            msg = "planted"
            raise ArgumentError(msg)
        return submit(step)

    with unharmed(llm):
        monkeypatch.setattr(llm.engine.executor, "submit", fail_third)
        with pytest.raises(ArgumentError, match="planted"):
            llm.generate(["Alice was", "Down the"], GREEDY)


def test_an_interrupt_leaves_nothing_behind(llm: LLM, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(step: Any) -> Any:
        raise KeyboardInterrupt

    with unharmed(llm), monkeypatch.context() as patch:
        patch.setattr(llm.engine.executor, "submit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            llm.generate("Alice was", GREEDY)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"kv_layout": "pages"}, "kv_layout"),
        ({"dtype": "int8"}, "dtype"),
        ({"block_size": 0}, "block_size"),
        ({"kv_capacity_tokens": 8}, "kv_capacity_tokens=8"),
        ({"max_model_len": 10**9}, "max_model_len"),
        ({"num_threads": -1}, "num_threads"),
    ],
)
def test_bad_configuration(model_path: Path, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        LLM(model_path, **settings)


def test_unknown_setting_is_named(model_path: Path) -> None:
    with pytest.raises(TypeError, match="kv_capcity"):
        LLM(model_path, kv_capcity=3)


def copy_of(model_path: Path, copy: Path) -> Path:
    """A folder with the files of a checkpoint; its weights, which may be gigabytes, are links."""
    copy.mkdir()
    for file in model_path.iterdir():
        if file.suffix == ".safetensors":
            (copy / file.name).symlink_to(file)
        elif file.is_file():
            shutil.copy(file, copy)
    return copy


def replace_first_weights(path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = min(path.glob("*.safetensors"))
    content = damage(file.read_bytes())
    file.unlink()  # a link: what it leads to stays as it is
    file.write_bytes(content)


def truncate(path: Path) -> None:
    replace_first_weights(path, lambda content: content[:-100])


def corrupt_header(path: Path) -> None:
    replace_first_weights(path, lambda content: content[:9] + b"\xff" + content[10:])


def remove_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").unlink()


def break_tokenizer(path: Path) -> None:
    (path / "tokenizer.json").write_text("{}")


def other_architecture(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    config["architectures"] = ["LlamaForCausalLM"]
    (path / "config.json").write_text(json.dumps(config))


def more_layers(path: Path) -> None:
    config = json.loads((path / "config.json").read_text())
    config["num_hidden_layers"] += 1
    config.pop("layer_types", None)
    (path / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (truncate, ModelError, ".safetensors"),
        (corrupt_header, ModelError, ".safetensors"),
        (remove_tokenizer, TokenizerError, "tokenizer.json"),
        (break_tokenizer, TokenizerError, "tokenizer.json"),
        (other_architecture, ModelError, "LlamaForCausalLM"),
        (more_layers, ModelError, "model.layers.{num_layers}"),
    ],
)
def test_damaged_checkpoint(
    model_path: Path,
    tmp_path: Path,
    damage: Callable[[Path], None],
    error: type[StagegateError],
    words: str,
) -> None:
    copy = copy_of(model_path, tmp_path / "model")
    damage(copy)
    expected = words.format(num_layers=load_model_config(model_path).decoder.num_layers)
    with pytest.raises(error, match=re.escape(expected)):
        LLM(copy)


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        LLM(tmp_path / "nowhere")
