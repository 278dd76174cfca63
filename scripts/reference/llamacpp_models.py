"""The real models that the tests use, where the tests keep them."""

REAL = {
    "smollm2": "SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf",
    "gemma3": "gemma-3-270m/gemma-3-270m-q4_k_m.gguf",
}
