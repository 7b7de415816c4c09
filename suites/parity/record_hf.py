"""Record what Hugging Face transformers gives for tiny-qwen2.

    python -m suites.parity.record_hf

Rewrites suites/parity/recorded. Needs torch and transformers (extra "parity").
"""

from __future__ import annotations

import hashlib
import json
import platform
from pathlib import Path

import numpy as np
import torch
import transformers

from suites.parity import hugging_face
from suites.parity.prompts import NEW_TOKENS, text_prompts

MODEL = Path("suites/models/tiny-qwen2")
RECORDED = Path(__file__).parent / "recorded"

# Rounding differs between machines by about 1e-5 here; a smaller gap between the two best tokens
# would make the recording a matter of luck.
SMALLEST_MARGIN = 1e-3


def main() -> None:
    model = hugging_face.load(MODEL)
    prompts = text_prompts(MODEL)
    runs = [hugging_face.greedy(model, prompt, NEW_TOKENS) for prompt in prompts]
    margin = min(hugging_face.smallest_margin(logits) for _, logits in runs)
    if margin < SMALLEST_MARGIN:
        msg = f"a greedy choice has a margin of {margin:.2g}; choose clearer prompts"
        raise SystemExit(msg)
    provenance = {
        "model_sha256": hashlib.sha256((MODEL / "model.safetensors").read_bytes()).hexdigest(),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "dtype": "float32",
        "attention": "sdpa",
        "smallest_margin": round(margin, 6),
    }
    recording = {
        "provenance": provenance,
        "prompts": prompts,
        "tokens": [tokens for tokens, _ in runs],
    }
    RECORDED.mkdir(exist_ok=True)
    (RECORDED / "tiny-qwen2.json").write_text(json.dumps(recording) + "\n")
    # Logits of the first new token of each prompt.
    np.save(RECORDED / "tiny-qwen2-logits.npy", np.stack([logits[0] for _, logits in runs]))
    print(json.dumps(provenance, indent=2))


if __name__ == "__main__":
    main()
