"""record.jsonl: how every layer is doing while a net is trained (``scratchvgg train --record``).

One JSON object a line. The first says what is recorded::

    {"kind": "about", "format": 1, "version", "recipe", "model", "data", "classes": C, "ln_classes": ln C, "batch_size", "images", "every",
     "total_steps", "precision", "layers": [{"name", "type", "parameters"}, ...]}            every module without children, in order

and every later one is a step::

    {"kind": "record", "step", "epoch_progress", "loss", "accuracy", "lr", "grad_norm", "end": null, "layers": [
      {"name", "type", "activation": {...}, "gradient": {...} or null, "weight": {"mean", "std", "norm"} or null,
       "weight_gradient": {"mean", "std", "norm"} or null, "update", "update_ratio"}, ...]}                    in the order of execution

* ``step`` counts from 1; weights and activations are those before it, ``loss`` and ``accuracy`` those of its batch.
* ``activation`` and ``gradient`` (of the loss with respect to the layer's output) are described in :mod:`.layer_statistics`. They carry a
  histogram in every :data:`HISTOGRAMS`-th recorded step, and in those of the beginning.
* ``weight_gradient`` is that of the whole batch's step: unscaled (float16), and before ``clip_norm``; ``grad_norm`` is the 2-norm of all
  parameters' together.
* ``update`` is ‖Δw‖, the 2-norm of what the optimiser's step added to ``weight`` (an EMA or Lookahead comes after), ``update_ratio`` is
  ‖Δw‖ / ‖w‖; null in layers without a weight that is trained. 0 if a float16 step was left out.
* ``end`` is null, but in a line that tells of the step at which training ended with a NaN or an infinity: the reason in words. There the whole
  batch is run, and nothing is known of weight gradients and updates.

Steps are recorded by :class:`Cadence`: the first :data:`BEGINNING`, then every N-th. Numbers have six significant digits.

**The training is not changed by a bit.** Hooks on layers would do that: where somebody looks at its inside, a run of layers is not fused, and a batch
norm fused with its ReLU rounds differently. So activations and gradients come from a run of their own, just before the step: with the same weights,
on the batch's first :data:`IMAGES` images, without fusion. It puts back gradients, running statistics and random numbers, and has no say in which
convolution algorithms are pinned. Weight gradients and updates are read from the step itself.
"""
