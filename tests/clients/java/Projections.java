import io.kurrent.dbclient.CreateProjectionOptions;
import io.kurrent.dbclient.DeleteProjectionOptions;
import io.kurrent.dbclient.GetProjectionResultOptions;
import io.kurrent.dbclient.GetProjectionStateOptions;
import io.kurrent.dbclient.KurrentDBClient;
import io.kurrent.dbclient.KurrentDBProjectionManagementClient;
import io.kurrent.dbclient.UpdateProjectionOptions;
import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ExecutionException;

/** Projections: states, results, emitted events, and their life. */
final class Projections {
  static void addTo(Map<String, Main.Scenario> scenarios) {
    scenarios.put("projections have states and results of partitions", Projections::counts);
    scenarios.put("projections emit, stop, start and end", Projections::emits);
  }

  /** Waits until an entry of the state of a partition has this value. */
  private static void untilState(
      KurrentDBProjectionManagementClient projections, String name, String partition, int n)
      throws Exception {
    GetProjectionStateOptions options = GetProjectionStateOptions.get().partition(partition);
    Main.eventually(
        "the state of `" + partition + "` is " + n,
        () -> {
          try {
            Map<?, ?> state = Main.await(projections.getState(name, Map.class, options));
            return state != null && isNumber(state.get("n"), n);
          } catch (ExecutionException error) {
            // The projection may not have started yet.
            return false;
          }
        });
  }

  /** The package reads every number as a floating-point one. */
  private static boolean isNumber(Object value, int n) {
    return value instanceof Number && ((Number) value).doubleValue() == n;
  }

  private static void counts(KurrentDBClient client) throws Exception {
    KurrentDBProjectionManagementClient projections =
        KurrentDBProjectionManagementClient.from(client);
    String category = Main.fresh("c").replace("-", "");
    String name = Main.fresh("count");
    String query =
        "fromCategory('" + category + "').foreachStream()"
            + ".when({ $init: () => ({ n: 0 }), placed(s, e) { s.n += e.data.n } })"
            + ".transformBy((s) => ({ doubled: s.n * 2 })).outputState()";
    Main.await(projections.create(name, query));
    Main.await(client.appendToStream(category + "-1", Main.placed(1), Main.placed(2)));
    Main.await(client.appendToStream(category + "-2", Main.placed(5)));
    untilState(projections, name, category + "-1", 3);
    untilState(projections, name, category + "-2", 5);
    GetProjectionResultOptions one = GetProjectionResultOptions.get().partition(category + "-1");
    Map<?, ?> result = Main.await(projections.getResult(name, Map.class, one));
    Main.check(isNumber(result.get("doubled"), 6), result);
    Main.check(Main.await(projections.getStatus(name)).getStatus().equals("Running"), "the status");
    boolean isListed =
        Main.await(projections.list()).stream().anyMatch(it -> it.getName().equals(name));
    Main.check(isListed, "the list of projections");
  }

  private static void emits(KurrentDBClient client) throws Exception {
    KurrentDBProjectionManagementClient projections =
        KurrentDBProjectionManagementClient.from(client);
    String stream = Main.fresh("order");
    String name = Main.fresh("emit");
    String query =
        "fromStream('" + stream + "').when({ $init: () => ({ n: 0 }),"
            + " placed(s, e) { s.n += 1; emit('copies-" + name + "', 'copied', e.data) } })";
    CreateProjectionOptions options =
        CreateProjectionOptions.get().emitEnabled(true).trackEmittedStreams(true);
    Main.await(projections.create(name, query, options));
    Main.await(client.appendToStream(stream, Main.placed(1), Main.placed(2)));
    untilState(projections, name, "", 2);
    Main.refused(Throwable.class, () -> projections.create(name, query, options));
    Main.await(projections.disable(name));
    Object copies = Streams.numbers(Streams.read(client, "copies-" + name));
    Main.check(copies.equals(Arrays.asList(1, 2)), copies);
    Main.await(projections.enable(name));
    Main.await(projections.update(name, query, UpdateProjectionOptions.get().emitEnabled(true)));
    Main.await(projections.reset(name));
    untilState(projections, name, "", 2);
    Main.await(projections.abort(name));
    DeleteProjectionOptions all = DeleteProjectionOptions.get().deleteEmittedStreams();
    Main.await(projections.delete(name, all));
    Main.refused(Throwable.class, () -> projections.getStatus(name));
    Main.await(projections.restartSubsystem());
  }

  private Projections() {}
}
