# SPDX-License-Identifier: Apache-2.0
# Ruby's pg in pipeline mode.
require "pg"

c = PG.connect
c.exec("CREATE TABLE t (a int PRIMARY KEY)")
def drain(c, n)
  n.times do
    while (r = c.get_result)
      p [r.res_status(r.result_status), r.error_field(PG::PG_DIAG_SQLSTATE), r.ntuples]
      break if r.result_status == PG::PGRES_PIPELINE_SYNC
    end
  end
end
c.enter_pipeline_mode
c.send_query_params("INSERT INTO t VALUES ($1)", [1])
c.send_query_params("SELECT a FROM t WHERE a = $1", [1])
c.send_prepare("p", "SELECT $1::int")
c.send_query_prepared("p", [7])
c.pipeline_sync
drain(c, 5)
c.send_query_params("INSERT INTO t VALUES ($1)", [1])
c.send_query_params("SELECT 'never done'", [])
c.pipeline_sync
drain(c, 3)
c.exit_pipeline_mode
c.exec("SELECT 'after'")
c.close
