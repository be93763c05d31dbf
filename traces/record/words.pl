# Counts words, and keeps the last lines of each length.
my (%count, %lines);
while (<>) {
    $count{lc $_}++ for /\w+/g;
    my $kept = $lines{length $_} //= [];
    push @$kept, $_;
    splice(@$kept, 0, 50) if @$kept > 100;
}
print scalar keys %count, "\n";
