"""Whether an LLM is the one that an adapter was trained with."""

from pathlib import Path

from mse.adapter.model import MSEAdapter
from mse.config import Backbone
from mse.errors import UserError
from mse.fetch import source_of


def check_llm(adapter: MSEAdapter, llm_folder: Path, backbone: Backbone, folder: Path) -> None:
    """Refuse an LLM that is another, or reads or writes otherwise, than the one that the adapter knows.

    Raises:
        UserError: checksums of the weights, dtype, quantisation, a mark or the style of answers differ.
    """
    for key, trained in adapter.config.reading.items():  # an imported adapter does not know
        if backbone.reading.get(key) != trained:
            raise UserError(
                f"{folder}: trained with {key} = {trained!r} (backbone {adapter.config.backbone}), but the "
                f"backbone's YAML now says {backbone.reading.get(key)!r}; set it back, or train anew"
            )
    now = source_of(llm_folder)
    for key in ("sha256", "files"):  # of a converted checkpoint, and of a model fetched by name
        if key in adapter.config.llm_source and now.get(key) != adapter.config.llm_source[key]:
            raise UserError(
                f"{folder}: trained with other weights than those in {llm_folder} (their checksums differ); "
                "give the LLM that it was trained with, or train anew"
            )
