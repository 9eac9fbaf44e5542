#!/bin/sh
# The application tier's page: who answers, and who asked.
printf 'Content-Type: text/plain\r\n\r\n'
echo "application server $(hostname)"
echo "you are ${REMOTE_ADDR:-unknown}"
