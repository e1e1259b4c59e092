"""Airflow: sync every hour, then write the report, also when the sync has failed.

Needs apache-airflow-providers-papermill, and the toolkit in the workers' Python. The worker's environment
holds POSTSCRIPT_SECRET_KEY; a parameter would be saved in the notebook and shown in the web interface.
"""

from datetime import UTC, datetime, timedelta

from airflow import DAG
from airflow.providers.papermill.operators.papermill import PapermillOperator

NOTEBOOKS = "/srv/audiences/notebooks"
OUTPUT = "/srv/audiences/output"
RUN = OUTPUT + "/runs/{{ ts_nodash }}-{{ ti.try_number }}"

with DAG(
    dag_id="postscript_sync",
    schedule="17 * * * *",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    dagrun_timeout=timedelta(hours=6),
) as dag:
    sync = PapermillOperator(
        task_id="sync",
        input_nb=f"{NOTEBOOKS}/3_sync_audiences.ipynb",
        output_nb=RUN + "-3_sync_audiences.ipynb",
        parameters={"events_path": "/data/segment-logs", "dry_run": False, "output_dir": OUTPUT},
        kernel_name="python3",
        retries=0,
    )
    report = PapermillOperator(
        task_id="report",
        input_nb=f"{NOTEBOOKS}/4_audit_report.ipynb",
        output_nb=RUN + "-4_audit_report.ipynb",
        parameters={"output_dir": OUTPUT},
        kernel_name="python3",
        trigger_rule="all_done",
    )
    sync >> report
