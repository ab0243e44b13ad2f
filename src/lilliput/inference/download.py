"""A bundle on the Hugging Face hub -> its folder in the hub's cache."""

import glob
from pathlib import Path

from lilliput.common.repositories import endpoint, hub_errors
from lilliput.errors import BundleError, HubError
from lilliput.inference.format import MANIFEST, names_in


def bundle_folder(name: str, revision: str | None = None, token: str | None = None) -> Path:
    """Returns the folder of a bundle in the hub's cache, after downloading what it lacks.

    Only the files that its manifest names are downloaded. Without a network the cache alone answers.

    Args:
        name: The repository: owner/name.
        revision: A branch, a tag or a commit; by default the newest of the main branch.
        token: The token to read with; by default that of HF_TOKEN or of `hf auth login`.

    Raises:
        HubError: If there is no such repository, it may not be read, it is no bundle, or no hub is reached.
    """
    from huggingface_hub import snapshot_download  # here, as most bundles are local folders

    def fetched(names: list[str], at: str | None) -> Path:
        patterns = [glob.escape(one) for one in names]
        return Path(
            snapshot_download(name, allow_patterns=patterns, revision=at, token=token, endpoint=endpoint())
        )

    with hub_errors(name, revision, "read"):
        folder = fetched([MANIFEST], revision)
        if not (folder / MANIFEST).is_file():
            raise HubError(
                f"'{name}' on {endpoint()} is no bundle: it has no {MANIFEST}; a bundle is what `lilliput "
                "bundle` makes and `lilliput push` uploads"
            )
        try:
            names = names_in(folder / MANIFEST)
        except BundleError as error:
            raise HubError(f"'{name}' on {endpoint()} is no bundle: {error}") from error
        return fetched([*names, MANIFEST], folder.name)
