// SPDX-License-Identifier: Apache-2.0
// JDBC: encryption asked for and refused, unnamed and named statements, batches, cursors, COPY.
import java.io.StringReader;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import org.postgresql.PGConnection;

public class JdbcClient {
  static void select(Connection c, String sql, Integer value) throws SQLException {
    try (PreparedStatement s = c.prepareStatement(sql)) {
      if (value != null) s.setInt(1, value);
      try (ResultSet r = s.executeQuery()) {
        while (r.next()) System.out.println(r.getString(1));
      }
    } catch (SQLException e) {
      System.out.println(e.getSQLState());
    }
  }

  public static void main(String[] args) throws Exception {
    String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT")
        + "/" + System.getenv("PGDATABASE") + "?sslmode=prefer";
    try (Connection c = DriverManager.getConnection(url, System.getenv("PGUSER"), "")) {
      select(c, "SELECT 'secret'", null);
      select(c, "SELECT 1/?::int", 0);
      select(c, "SELECT nonsense", null);
      select(c, "this is no sql", null);
      try (PreparedStatement s = c.prepareStatement("SELECT 2 * ?::int")) {
        for (int i = 0; i < 8; i++) { // the sixth is prepared on the server, under a name
          s.setInt(1, i);
          try (ResultSet r = s.executeQuery()) {
            r.next();
            System.out.println(r.getInt(1));
          }
        }
      }
      try (Statement s = c.createStatement()) {
        s.execute("CREATE TEMP TABLE tj (a int, b text)");
        s.execute("SELECT 1; SELECT 2");
      }
      c.setAutoCommit(false);
      try (PreparedStatement s = c.prepareStatement("INSERT INTO tj VALUES (?, ?)")) {
        for (int i = 0; i < 40; i++) {
          s.setInt(1, i);
          s.setString(2, "secret");
          s.addBatch();
        }
        System.out.println(s.executeBatch().length);
      }
      c.commit();
      try (PreparedStatement s = c.prepareStatement("SELECT a FROM tj WHERE a < ?")) {
        s.setFetchSize(10);
        s.setInt(1, 35);
        int n = 0;
        try (ResultSet r = s.executeQuery()) {
          while (r.next()) n++;
        }
        System.out.println(n);
      }
      c.commit();
      try (Statement s = c.createStatement()) { // the second fails, the third is not done
        s.addBatch("INSERT INTO tj VALUES (100, 'x')");
        s.addBatch("INSERT INTO tj VALUES (1/0, 'x')");
        s.addBatch("INSERT INTO tj VALUES (102, 'x')");
        s.executeBatch();
      } catch (SQLException e) {
        System.out.println(e.getSQLState());
      }
      c.rollback();
      c.setAutoCommit(true);
      System.out.println(c.unwrap(PGConnection.class).getCopyAPI()
          .copyIn("COPY tj FROM STDIN", new StringReader("7\tseven\n8\teight\n")));
    }
  }
}
