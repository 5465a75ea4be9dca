"""Keep the embedded task's training samples where the app can draw them without torch: `python scripts/record_samples.py`."""

import numpy as np
from safetensors.numpy import save_file

from ilora.lab.analysis.shown_samples import file_of
from ilora.tasks import load_task

if __name__ == "__main__":
    data = load_task("digits").train
    pictures = (255 * data.inputs["pixel_values"][:, 0].numpy()).round().astype(np.uint8)
    save_file({"labels": data.labels.numpy().astype(np.uint8), "pictures": pictures}, file_of("digits"))
    print(f"{file_of('digits')}: {len(pictures)} samples")
