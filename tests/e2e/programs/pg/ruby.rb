# SPDX-License-Identifier: Apache-2.0
# Ruby's pg: what a program does with it.
require "pg"
require "stringio"

$stdout.sync = true
C = PG.connect
C.set_notice_processor { |m| puts "notice: #{m}" }

def told
  r = yield
  p(r.respond_to?(:values) ? [r.values, r.cmd_tuples] : r)
rescue PG::Error => e
  p [e.class, e.message.lines.first, e.respond_to?(:result) && e.result && e.result.error_field(PG::PG_DIAG_SQLSTATE)]
end

told { C.exec("CREATE TABLE t (id serial PRIMARY KEY, a int, b text)") }
told { C.exec("INSERT INTO t (a, b) VALUES (1, 'it''s'), (2, NULL)") }
told { C.exec_params("SELECT b FROM t WHERE a = $1", [1]) }
told { C.exec_params("SELECT $1::int", ["no number"]) }
told { C.sync_exec("SELECT 'sync'") }
told { C.sync_exec_params("SELECT $1::text", ["sync"]) }
told { C.exec("SELECT 1/0") }
told { C.exec("SELECT nonsense") }
told { C.exec("SELECT 1; SELECT 2 AS two") }
told { C.exec("") }
told { C.prepare("by a", "SELECT b FROM t WHERE a = $1") }
told { C.describe_prepared("by a").nparams }
told { C.exec_prepared("by a", [1]) }
told { C.exec_prepared("by a", [2]) }
told { C.exec_prepared("by b", [2]) }
told { C.sync_prepare("sync", "SELECT $1::int + 1") }
told { C.sync_exec_prepared("sync", [41]) }
told { C.prepare("bad", "SELECT nonsense") }
told { C.transaction { |c| c.exec("INSERT INTO t (a) VALUES (3)"); c.exec("SELECT count(*) FROM t") } }
told { C.transaction { |c| c.exec("INSERT INTO t (id) VALUES (1)") } }
told { C.copy_data("COPY t (a, b) FROM STDIN") { C.put_copy_data("10\tten\n"); C.put_copy_data("11\televen\n") } }
C.copy_data("COPY (SELECT a, b FROM t ORDER BY id) TO STDOUT") { while (l = C.get_copy_data) do puts l end }
told { C.copy_data("COPY t (a) FROM STDIN") { C.put_copy_data("no number\n") } }
C.send_query("SELECT generate_series(1, 3) AS n")
C.set_single_row_mode
C.get_result.stream_each { |row| p row }
while C.get_result do end
C.send_query_params("SELECT $1::text", ["sent"])
told { C.get_last_result }
told { C.exec("LISTEN news") }
told { C.exec("NOTIFY news, 'hello'") }
C.wait_for_notify(5) { |channel, pid, payload| p [channel, payload] }
told { C.exec("DO $$ BEGIN RAISE NOTICE 'note'; END $$") }
told { C.transaction { oid = C.lo_creat; fd = C.lo_open(oid, PG::INV_WRITE); n = C.lo_write(fd, "large"); C.lo_close(fd); C.lo_unlink(oid); n } }
threads = 3.times.map { |i| Thread.new { d = PG.connect; 5.times { |j| d.exec("SELECT #{i}, #{j}") }; d.close } }
threads.each(&:join)
C.close
