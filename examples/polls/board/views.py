"""A board of questions."""

from django.http import HttpResponse
from django.utils.html import escape
from django.views.decorators.csrf import csrf_exempt

from board.models import Question


@csrf_exempt
def board(request):
    if request.method == "POST":
        Question.objects.create(text=request.POST["text"])
        return HttpResponse(status=201)
    rows = "".join(f"<li>{escape(question.text)}</li>" for question in Question.objects.all())
    return HttpResponse(f'<link rel="stylesheet" href="/static/board/style.css"><ul>{rows}</ul>')


def up(request):
    Question.objects.exists()
    return HttpResponse("ok")
