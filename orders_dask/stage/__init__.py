"""The stage: Parquet intermediates on S3, a part per split, which later runs reuse.

::

    STAGE/run_date=2017-11-04/
        part=6d0f…/                                  hash of all that its content depends on
            part.json                                its record, written last: it completes the part
            5a1e…/                                   one attempt to write it
                tables.zip                           of a small part, these in one zip:
                fact_order.parquet, …                each staged table that has rows
                keys.parquet                         what decides which version of an order wins
                replayed.parquet                     outcomes of replayed records
                rejected.parquet                     rejected records
        manifest-20261001T043012.104Z-17-8f….json    parts of load 17, and their superseded orders

A part that exists is right whoever wrote it, so writing one is idempotent. Each attempt has a
folder of its own, so a task that runs twice or dies half-way does no harm. The last piece of a
manifest's name is the id of the database whose ledger has the load: several databases may share a
stage.
"""
