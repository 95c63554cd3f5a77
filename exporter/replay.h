/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ATR_EXPORTER_REPLAY_H
#define ATR_EXPORTER_REPLAY_H

struct atr_host;

/*
 * Sends what is in host->files, files with a request of OTLP JSON on each line
 * (exporter/file.c writes such), to wherever the settings say, each line once.
 *
 * stats->adopted counts spans sent, stats->adopted_refused those the collector does not take,
 * stats->corrupt lines that are none, stats->left files in which something is left that was to be
 * sent.
 */
void atr_replay(const struct atr_host *host);

#endif
