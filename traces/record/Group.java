import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** Groups numbers by the length of their text, on all cores. */
class Group {
    public static void main(String[] words) {
        var groups = IntStream.range(0, 1_000_000).parallel().mapToObj(Integer::toString)
                .collect(Collectors.groupingByConcurrent(String::length, Collectors.counting()));
        System.out.println(groups);
    }
}
