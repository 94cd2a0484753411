"""The whole network on one screen: look, read, write."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from harness.florence2.bart import Cache, Decoder, Encoder, Memory
from harness.florence2.config import Config
from harness.florence2.davit import DaViT
from harness.florence2.fusion import Fusion


class Florence2(nn.Module):
    """Pixels and a prompt in, logits out.  It knows nothing of files, strings or decoding.

    The vision tower may be in another precision than the text layers (see `fast.choose`).

    Shapes: B sequences, I image tokens, P prompt tokens, S = I + P, E width, V vocabulary; R = B x beams rows.
    """

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.vision = DaViT(config.vision)
        self.fusion = Fusion(config)
        self.embedding = nn.Embedding(config.text.vocab, config.text.width)
        self.encoder = Encoder(config.text)
        self.decoder = Decoder(config.text)
        self.lm_head = nn.Linear(config.text.width, config.text.vocab, bias=False)
        self.lm_head.weight = self.embedding.weight  # tied; a checkpoint that unties them is loaded untied

    def look(self, pixels: Tensor) -> Tensor:
        """Normalised pixels (B, 3, height, width) to image tokens (B, I, E)."""
        tokens: Tensor = self.fusion(self.vision(pixels))
        return tokens

    def read(self, image: Tensor, prompt: Tensor, real: Tensor | None = None) -> Memory:
        """Image tokens (B, I, E) and prompt ids (B, P), `real` (B, P) False at padding, to the decoder's memory."""
        words = self.embedding(prompt)
        x = torch.cat([image.to(words.dtype), words], dim=1)
        mask = None if real is None else F.pad(real, (image.shape[1], 0), value=True)[:, None, None]
        return self.decoder.remember(self.encoder(x, mask), mask)

    def write(self, tokens: Tensor, memory: Memory, cache: Cache | None = None) -> Tensor:
        """Ids (R, T) to hidden states (R, T, E), ready for `lm_head`."""
        hidden: Tensor = self.decoder(self.embedding(tokens), memory, cache)
        return hidden

    def forward(self, pixels: Tensor, prompt: Tensor, real: Tensor | None, tokens: Tensor) -> Tensor:
        """Logits (B, T, V) of the token after each of `tokens` (B, T): teacher forcing."""
        logits: Tensor = self.lm_head(self.write(tokens, self.read(self.look(pixels), prompt, real)))
        return logits
