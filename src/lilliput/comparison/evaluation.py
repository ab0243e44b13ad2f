"""How good something finished is: the models of a run on masked words, or a bundle on a labelled file."""

from pathlib import Path

from lilliput.common.arguments import PathLike, Texts, path_of, renamed, texts_of
from lilliput.comparison.bundle_evaluation import evaluate_bundle
from lilliput.comparison.evaluation_report import Evaluation
from lilliput.comparison.predictions import check_ending, write_predictions
from lilliput.errors import ConfigError
from lilliput.inference.format import CONFIG, is_config
from lilliput.tasks.columns import Columns
from lilliput.training.evaluation import Quality, evaluate as evaluate_run


def is_bundle(path: Path) -> bool:
    """Returns whether a folder is a bundle, whole or not."""
    return is_config(path / CONFIG)


@renamed(out="run")
def evaluate(
    run: PathLike,
    text: Texts = (),
    *,
    text_column: str = "text",
    rows: int = 1024,
    columns: Columns | None = None,
    predictions: PathLike | None = None,
) -> dict[str, Quality] | Evaluation:
    """Returns how good the models of a run are on masked words, or a bundle on a labelled file.

    Args:
        run: A run with its finished student, or a bundle that was made for a task.
        text: Of a run, text to evaluate on, as `compress` takes it, which is indexed beside the run; without
            it the run's held-out text. Of a bundle, the labelled file.
        text_column: Of a run, which column of tables and data sets holds the text.
        rows: Of a run, rows of text to evaluate on at most.
        columns: Of a bundle, the columns of the file, where they have no usual names.
        predictions: Of a bundle, a file for its answers: .csv, .jsonl or .parquet.

    Raises:
        StorageError: If the run has no finished student.
        BundleError: If the bundle is damaged, or has no answers that labels could be compared with.
        InputError: If the file cannot be read, or has labels that the bundle does not have.
        ConfigError: If an argument is for the other one of both.
    """
    place = path_of("run", run)
    if not is_bundle(place):
        if columns is not None or predictions is not None:
            raise ConfigError(
                f"{place} is no bundle, so there are no columns and no predictions; name the bundle's folder"
            )
        return evaluate_run(place, text, text_column=text_column, rows=rows)
    files = texts_of("text", text)
    if len(files) != 1:
        raise ConfigError(
            f"a bundle is evaluated on one labelled file, found {len(files)}; name it: "
            'evaluate("bundle", "dev.csv")'
        )
    written = None if predictions is None else path_of("predictions", predictions)
    if written is not None:
        check_ending(written)
    found = evaluate_bundle(place, Path(files[0]), columns)
    if written is not None:
        write_predictions(written, found.predictions)
    return found
