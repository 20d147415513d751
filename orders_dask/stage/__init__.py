"""The Parquet intermediates: a part for each split, used again by every run that would make the same one.

::

    STAGE/run_date=2017-11-04/part=6d0f…/5a1e…/fact_order.parquet   a table that has rows
                                              … keys.parquet         what decides which version wins
                                              rejected.parquet     what was refused replayed.parquet
                                              what became of refused records, read again
                                         part.json                 written last: which of the
                                         folders is whole
    STAGE/run_date=2017-11-04/manifest-20261001T043012.104Z-17-8f….json  the parts of load 17, and
    which of their rows
                                         lost; the last piece tells the database, for several may
                                         share a stage

A part's name hashes all that its content depends on, so a part that is there is right, whoever
wrote it. Each attempt to write one has a folder of its own: a task that runs twice, or dies on the
way, spoils nothing.
"""
