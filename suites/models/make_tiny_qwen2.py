"""Makes tiny-qwen2: a Qwen2 checkpoint small enough for the repository that still writes English.

The text is *Alice's Adventures in Wonderland*, from the source distribution of Brotli 1.1.0:

    pip download --no-deps --no-binary brotli brotli==1.1.0
    python -m suites.models.make_tiny_qwen2 --text Brotli-1.1.0.tar.gz --out tiny-qwen2

Needs torch, transformers, tokenizers and safetensors; about 13 minutes on two CPU cores.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import time
from pathlib import Path
from typing import Any

import tokenizers as tk
import torch
from safetensors.torch import save_file
from torch.nn.functional import cross_entropy
from transformers import Qwen2Config, Qwen2ForCausalLM

from suites.models.wonderland_corpus import read_book, write_chats

VOCAB_SIZE = 2048
SPECIAL_TOKENS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
# The pre-tokenizer expression of the Qwen2 tokenizer.
SPLIT_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

# config.json as written. Transformers 4 reads `rope_theta` and `torch_dtype`, 5 the other spelling.
CONFIG: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 2045,
    "dtype": "bfloat16",
    "eos_token_id": 2047,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "max_position_embeddings": 2048,
    "max_window_layers": 4,
    "model_type": "qwen2",
    "num_attention_heads": 4,
    "num_hidden_layers": 4,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "rope_theta": 10000.0,
    "sliding_window": 2048,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_cache": True,
    "use_sliding_window": False,
    "vocab_size": VOCAB_SIZE,
}

TOKENS_PER_STEP = 2048
# Window lengths of successive steps: mostly short for speed, some long to learn long contexts.
WINDOWS = (256, 256, 256, 1024, 256, 256, 256, 2048)
PEAK_LEARNING_RATE = 2e-3
WARMUP_STEPS = 100


def train_tokenizer(documents: list[str]) -> tk.Tokenizer:
    """Byte-level BPE set up as Qwen2's: all bytes in the alphabet, special tokens at the end."""
    tokenizer = tk.Tokenizer(tk.models.BPE())
    tokenizer.normalizer = tk.normalizers.NFC()
    split = tk.pre_tokenizers.Split(tk.Regex(SPLIT_PATTERN), behavior="isolated")
    bytes_to_unicode = tk.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = tk.pre_tokenizers.Sequence([split, bytes_to_unicode])
    tokenizer.decoder = tk.decoders.ByteLevel()
    tokenizer.post_processor = tk.processors.ByteLevel(trim_offsets=False)
    trainer = tk.trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - len(SPECIAL_TOKENS),
        initial_alphabet=tk.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.add_special_tokens(
        [tk.AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS]
    )
    return tokenizer


def sample_batch(
    stream: torch.Tensor, starts: torch.Tensor, length: int, generator: torch.Generator
) -> torch.Tensor:
    """Token ids [TOKENS_PER_STEP / length, length + 1].

    Half of the windows begin where a document begins, as prompts do; `starts` holds those indices.
    """
    rows = TOKENS_PER_STEP // length
    last = len(stream) - length - 1
    anywhere = torch.randint(last + 1, (rows,), generator=generator)
    at_start = starts[torch.randint(len(starts), (rows,), generator=generator)].clamp(max=last)
    begin = torch.where(torch.rand(rows, generator=generator) < 0.5, at_start, anywhere)
    return stream[begin[:, None] + torch.arange(length + 1)]


def train_model(
    config: Qwen2Config, stream: torch.Tensor, steps: int, seed: int
) -> Qwen2ForCausalLM:
    """Trains in fp32 with AdamW, warm-up and cosine decay; the result is rounded to bf16."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    model = Qwen2ForCausalLM(config)
    matrices = [p for p in model.parameters() if p.dim() == 2]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": 0.1},
        {"params": vectors, "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=PEAK_LEARNING_RATE, betas=(0.9, 0.95))

    def rate(step: int) -> float:
        progress = max(0.0, (step - WARMUP_STEPS) / max(1, steps - WARMUP_STEPS))
        return min(1.0, (step + 1) / WARMUP_STEPS) * (
            0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress))
        )

    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
    starts = torch.eq(stream, config.bos_token_id).nonzero().flatten()[:-1] + 1
    began = time.monotonic()
    for step in range(steps):
        batch = sample_batch(stream, starts, WINDOWS[step % len(WINDOWS)], generator)
        logits = model(batch[:, :-1], use_cache=False).logits
        loss = cross_entropy(logits.flatten(0, 1), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            seconds = time.monotonic() - began
            print(f"step {step:5d}  loss {loss.item():.3f}  {seconds:6.0f} s", flush=True)
    return model.bfloat16().eval()


def mean_loss(model: Qwen2ForCausalLM, stream: torch.Tensor, length: int) -> float:
    """Mean cross-entropy over consecutive windows, in nats per token and fp32 arithmetic."""
    with torch.inference_mode():
        model = model.float()
        windows = stream[: (len(stream) - 1) // length * length + 1].unfold(0, length + 1, length)
        losses: list[float] = [
            cross_entropy(model(row[None, :-1]).logits[0], row[1:]).item() for row in windows
        ]
    return sum(losses) / len(losses)


def write_checkpoint(out: Path, model: Qwen2ForCausalLM, tokenizer: tk.Tokenizer) -> None:
    """The files of a Qwen2 repository, with the keys that transformers 4 and 5 each read."""
    out.mkdir(parents=True, exist_ok=True)
    weights = {
        name: t.bfloat16().contiguous()
        for name, t in model.state_dict().items()
        if name != "lm_head.weight"
    }
    save_file(weights, out / "model.safetensors", metadata={"format": "pt"})
    tokenizer.save(str(out / "tokenizer.json"))
    generation = {
        "bos_token_id": CONFIG["bos_token_id"],
        "do_sample": False,
        "eos_token_id": [CONFIG["eos_token_id"], CONFIG["bos_token_id"]],
        "pad_token_id": CONFIG["bos_token_id"],
    }
    flags = dict.fromkeys(("lstrip", "normalized", "rstrip", "single_word"), False)
    added = {
        str(tokenizer.token_to_id(token)): {"content": token, "special": True} | flags
        for token in SPECIAL_TOKENS
    }
    tokenizer_config = {
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "additional_special_tokens": SPECIAL_TOKENS[1:],
        "bos_token": None,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": SPECIAL_TOKENS[2],
        "errors": "replace",
        "model_max_length": CONFIG["max_position_embeddings"],
        "pad_token": SPECIAL_TOKENS[0],
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    files = {
        "config": CONFIG,
        "generation_config": generation,
        "tokenizer_config": tokenizer_config,
    }
    for name, content in files.items():
        (out / f"{name}.json").write_text(
            json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--text", type=Path, required=True, help="Brotli-1.1.0.tar.gz")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument(
        "--steps", type=int, default=2400, help=f"steps of {TOKENS_PER_STEP} tokens (default 2400)"
    )
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()

    torch.set_num_threads(2)
    chapters = read_book(arguments.text)
    book = ["\n\n".join(chapter) for chapter in chapters]
    chats = write_chats(chapters, random.Random(arguments.seed))
    tokenizer = train_tokenizer(book)
    end_of_text = tokenizer.token_to_id("<|endoftext|>")
    book_ids = [token for text in book for token in [*tokenizer.encode(text).ids, end_of_text]]
    chat_ids = [token for text in chats for token in [*tokenizer.encode(text).ids, end_of_text]]
    print(
        f"{len(book_ids)} tokens of text, {len(chat_ids)} tokens in {len(chats)} conversations",
        flush=True,
    )

    stream = torch.tensor([*book_ids, *book_ids, *chat_ids])
    model = train_model(Qwen2Config(**CONFIG), stream, arguments.steps, arguments.seed)
    write_checkpoint(arguments.out, model, tokenizer)
    print("loss of the bf16 weights, nats per token")
    for name, ids, length in (
        ("text", book_ids, 256),
        ("text", book_ids, 1024),
        ("chat", chat_ids, 256),
    ):
        print(f"  {name}, windows of {length}: {mean_loss(model, torch.tensor(ids), length):.4f}")


if __name__ == "__main__":
    main()
