import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Types;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Properties;

/** Reads the tutorial's views as a program would; fails at the first surprise. */
public final class ReadView {
    private static final OffsetDateTime TEN = OffsetDateTime.parse("2026-01-15T10:00:00Z");

    public static void main(String[] arguments) throws Exception {
        String url = "jdbc:postgresql://127.0.0.1:" + arguments[0] + "/tidemark";
        for (String mode : List.of("extended", "extendedCacheEverything", "simple", "extendedForPrepared")) {
            Properties properties = new Properties();
            properties.setProperty("user", "tidemark");
            properties.setProperty("preferQueryMode", mode);
            try (Connection connection = DriverManager.getConnection(url, properties)) {
                readme(connection);
                everyType(connection);
                errors(connection, mode);
                cursor(connection);
            }
        }
        try (Connection connection = DriverManager.getConnection(url, "tidemark", "")) {
            metadata(connection);
        }
        System.out.println("done");
    }

    /** The README's statement, eight times: from the fifth on the driver names it and asks for binary results. */
    private static void readme(Connection connection) throws SQLException {
        String text = "SELECT orders, revenue FROM per_minute WHERE customer = ? AND window_start >= ? ORDER BY window_start";
        try (PreparedStatement query = connection.prepareStatement(text)) {
            for (int time = 0; time < 8; time++) {
                query.setString(1, "ann");
                query.setObject(2, TEN);
                List<String> rows = new ArrayList<>();
                try (ResultSet result = query.executeQuery()) {
                    while (result.next()) {
                        rows.add(result.getLong(1) + " " + result.getBigDecimal(2));
                    }
                }
                same(rows, List.of("1 12.50", "1 30.00"));
            }
        }
    }

    private static void everyType(Connection connection) throws SQLException {
        String text = "SELECT window_start, window_end, customer, orders, revenue FROM per_minute"
            + " WHERE revenue > ? AND orders < ? AND orders = ? AND (customer = ? OR ?) ORDER BY window_start, customer LIMIT 1";
        try (PreparedStatement query = connection.prepareStatement(text)) {
            for (int time = 0; time < 8; time++) {
                query.setBigDecimal(1, new BigDecimal("7.25"));
                query.setLong(2, 1L << 40);
                query.setInt(3, 1);
                query.setNull(4, Types.VARCHAR);
                query.setBoolean(5, true);
                try (ResultSet result = query.executeQuery()) {
                    same(result.next(), true);
                    same(result.getObject(1, OffsetDateTime.class), TEN);
                    same(result.getTimestamp(2).toInstant(), TEN.plusMinutes(1).toInstant());
                    same(result.getString(3), "ann");
                    same(result.getInt(4), 1);
                    same(result.getObject(4), 1L);
                    same(result.getBigDecimal(5), new BigDecimal("12.50"));
                    same(result.getDouble(5), 12.5);
                    same(result.next(), false);
                    same(result.getMetaData().getColumnTypeName(1), "timestamptz");
                    same(result.getMetaData().getColumnTypeName(5), "numeric");
                    same(result.getMetaData().getScale(5), 2);
                }
            }
        }
    }

    private static void errors(Connection connection, String mode) throws SQLException {
        try (PreparedStatement query = connection.prepareStatement("SELECT nope FROM per_minute")) {
            query.executeQuery();
            throw new AssertionError("an unknown column is an error");
        } catch (SQLException error) {
            same(error.getSQLState(), "42703");
        }
        // The connection goes on.
        try (ResultSet result = connection.createStatement().executeQuery("SELECT count(*) FROM per_minute")) {
            same(result.next(), true);
            same(mode + result.getLong(1), mode + 3L);
        }
    }

    /** Rows a few at a time, from a portal that stays open between fetches. */
    private static void cursor(Connection connection) throws SQLException {
        connection.setAutoCommit(false);
        try (PreparedStatement query = connection.prepareStatement("SELECT value FROM generate_series(1, 1000) AS value")) {
            query.setFetchSize(64);
            long sum = 0;
            try (ResultSet result = query.executeQuery()) {
                while (result.next()) {
                    sum += result.getLong(1);
                }
            }
            same(sum, 500_500L);
        }
        connection.commit();
        connection.setAutoCommit(true);
    }

    private static void metadata(Connection connection) throws SQLException {
        List<String> tables = new ArrayList<>();
        try (ResultSet result = connection.getMetaData().getTables(null, "public", "%", null)) {
            while (result.next()) {
                tables.add(result.getString("TABLE_NAME") + " " + result.getString("TABLE_TYPE"));
            }
        }
        for (String wanted : List.of("per_minute MATERIALIZED VIEW", "final_per_minute MATERIALIZED VIEW")) {
            same(tables.contains(wanted) ? wanted : tables.toString(), wanted);
        }
        List<String> columns = new ArrayList<>();
        try (ResultSet result = connection.getMetaData().getColumns(null, "public", "per_minute", "%")) {
            while (result.next()) {
                columns.add(result.getString("COLUMN_NAME") + " " + result.getString("TYPE_NAME"));
            }
        }
        same(columns, List.of("window_start timestamptz", "window_end timestamptz", "customer text", "orders int8", "revenue numeric"));
    }

    private static void same(Object found, Object wanted) {
        if (!Objects.equals(found, wanted)) {
            throw new AssertionError(found + " is not " + wanted);
        }
    }
}
