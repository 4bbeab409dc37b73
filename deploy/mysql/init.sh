#!/bin/bash
# Run once by the image, in a new database: the three users that roles.mysql.sql gives their rights.
# Not executable, so that the image's entry point reads it into its own shell, which has docker_process_sql.
docker_process_sql <<SQL
CREATE USER hotsku_owner IDENTIFIED BY '${LEDGER_OWNER_PASSWORD}';
CREATE USER hotsku_app IDENTIFIED BY '${LEDGER_APP_PASSWORD}';
CREATE USER hotsku_read IDENTIFIED BY '${LEDGER_READ_PASSWORD}';
SQL
docker_process_sql --database="$MYSQL_DATABASE" </roles.mysql.sql
