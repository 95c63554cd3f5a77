# SPDX-License-Identifier: Apache-2.0
# DBD::Pg: what a program does with it.
use strict;
use warnings;
use DBI;
use DBD::Pg qw(:async);

$| = 1;
my $d = DBI->connect("dbi:Pg:", "", "", { RaiseError => 0, PrintError => 0, AutoCommit => 1 }) or die $DBI::errstr;
sub told { print join(" ", map { defined $_ ? $_ : "undef" } @_), "\n" }
sub failed { told("failed", $d->state, (split /\n/, $d->errstr // "")[0]) }

told($d->do("CREATE TABLE t (id serial PRIMARY KEY, a int, b text)"));
told($d->do("INSERT INTO t (a, b) VALUES (1, 'it''s')"));
told($d->do("INSERT INTO t (a, b) VALUES (?, ?)", undef, 2, "two"));
my $s = $d->prepare("SELECT a, b FROM t WHERE a > ? ORDER BY a");
for my $low (0, 1, 2) {
	told($s->execute($low));
	while (my @row = $s->fetchrow_array) { told(@row) }
}
$s = $d->prepare('SELECT $1::int + $2::int');
$s->execute(2, 3);
told($s->fetchrow_array);
$s->execute("x", 3) or failed();
$s = $d->prepare("SELECT :low::int AS named");
$s->bind_param(":low", 7);
$s->execute;
told($s->fetchrow_array);
$d->do("SELECT 1/0") or failed();
$d->do("SELECT nonsense") or failed();
$s = $d->prepare("SELECT nonsense FROM t WHERE a = ?");
$s->execute(1) or failed();
$s = $d->prepare("SELECT b FROM t WHERE a = ?", { pg_server_prepare => 0 });
$s->execute(2);
told($s->fetchrow_array);
told(@{ $d->selectrow_arrayref("SELECT count(*), 'a?b' FROM t") });
told(map { @$_ } @{ $d->selectall_arrayref("SELECT a FROM t ORDER BY a DESC") });

$d->begin_work;
$d->do("INSERT INTO t (a) VALUES (?)", undef, $_) for 3 .. 5;
$d->pg_savepoint("here");
$d->do("INSERT INTO t (id) VALUES (1)") or failed();
$d->pg_rollback_to("here");
$d->pg_release("here");
$d->commit;
$d->{AutoCommit} = 0;
$d->do("DELETE FROM t WHERE a = 5");
$d->rollback;
$d->{AutoCommit} = 1;

$d->do("COPY t (a, b) FROM STDIN");
$d->pg_putcopydata("10\tten\n");
$d->pg_putcopydata("11\televen\n");
told($d->pg_putcopyend);
$d->do("COPY (SELECT a, b FROM t ORDER BY id) TO STDOUT");
my $line;
while ($d->pg_getcopydata($line) >= 0) { print $line }
$d->do("COPY t (a) FROM STDIN");
$d->pg_putcopydata("no number\n");
$d->pg_putcopyend or failed();

$d->do("SELECT pg_sleep(0.02)", { pg_async => PG_ASYNC });
told($d->pg_result);
$s = $d->prepare("SELECT ?::int * 2", { pg_async => PG_ASYNC });
$s->execute(21);
$s->pg_result;
told($s->fetchrow_array);

$d->do("LISTEN news");
$d->do("NOTIFY news, 'hello'");
my $n = $d->pg_notifies;
told($n->[0], $n->[2]);
{
	local $SIG{__WARN__} = sub { print "warned: $_[0]" };
	$d->do("DO \$\$ BEGIN RAISE WARNING 'careful'; END \$\$");
}
told($d->ping);
undef $s;
$d->disconnect;
